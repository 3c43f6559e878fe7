//! The thin binary.

use std::process::ExitCode;

use clap::Parser;
use offset_reset_operator::{
    api,
    cli::{Arguments, Command, Config},
    observability, run,
};

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crd => match api::crd_yaml() {
            Ok(yaml) => {
                print!("{yaml}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Command::Run(config) => operate(config),
    }
}

fn operate(config: Config) -> ExitCode {
    if let Err(error) = observability::init(config.log_format, &config.log) {
        return fail(error.as_ref());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(run::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.must_end_at_once() => {
            // Calls that block are not waited for: what has not been sent to a broker by now must not be.
            runtime.shutdown_background();
            fail(&error);
            ExitCode::from(run::LEASE_LOST)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("offset-reset-operator: {}", run::chain(error));
    ExitCode::FAILURE
}
