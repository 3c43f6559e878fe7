//! The thin binary.

use std::process::ExitCode;

use clap::Parser;
use offset_reset_operator::{
    api,
    cli::{Arguments, Command, Config, Logs},
    kafka,
    observability::{self, LogTo, traces},
    run,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

fn main() -> ExitCode {
    // The operator and its Kafka clients run as one user in one container. Without this, code in one process, such as what a
    // malicious broker gets into a client, could read the memory and the environment of all others, with their Secrets.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        return fail(&error);
    }
    match Arguments::parse().command {
        Command::Crd => match api::crd_yaml() {
            Ok(yaml) => {
                print!("{yaml}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Command::Reasons => {
            print!("{}", api::reasons_page());
            ExitCode::SUCCESS
        }
        Command::Metrics => {
            print!("{}", observability::metrics_page());
            ExitCode::SUCCESS
        }
        Command::Run(config) => {
            // This program, even when its file was replaced since the start.
            operate(Config { program: Some("/proc/self/exe".into()), ..config })
        }
        Command::KafkaClient(logs) => run_kafka_client(&logs),
    }
}

fn run_kafka_client(logs: &Logs) -> ExitCode {
    if let Err(error) = kafka::limit_stacks() {
        return fail(&error);
    }
    if let Err(error) = observability::init(logs.log_format, &logs.log, LogTo::Error) {
        return fail(error.as_ref());
    }
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => match runtime.block_on(kafka::serve()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Err(error) => fail(&error),
    }
}

fn operate(config: Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let entered = runtime.enter();
    if let Err(error) = observability::init(config.log_format, &config.log, LogTo::Output) {
        return fail(error.as_ref());
    }
    drop(entered);
    match runtime.block_on(run::run(config)) {
        Ok(()) => {
            traces::flush();
            ExitCode::SUCCESS
        }
        Err(error) if error.must_exit_at_once() => {
            // Blocking calls are not awaited: no commit may be sent to a broker from here on.
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
