//! `kubectl offset-reset`: the person's side of the offset-reset operator. It speaks to the API server only.

mod cli;
mod cluster;
mod command;
mod exit;
mod interrupt;
mod manifest;
mod print;
mod view;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Named};
use cluster::Cluster;
use command::{act, batch, check, complete, look, report, watch};
use exit::{Exit, Outcome};
use view::{BAD, Line};

fn main() -> ExitCode {
    // Its words are those of another command line, whole or not.
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == "__complete") {
        print::raw(&complete::complete(words[1..].to_vec()));
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Error.into() } else { ExitCode::SUCCESS };
        }
    };
    // Those that need no cluster.
    match &cli.command {
        Command::Version => {
            print::outln(&Line::plain(format!("kubectl-offset_reset {}", env!("CARGO_PKG_VERSION"))));
            return ExitCode::SUCCESS;
        }
        Command::Completion => {
            print::raw(complete::script());
            return ExitCode::SUCCESS;
        }
        Command::Docs => {
            complete::page().lines().for_each(print::raw);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    interrupt::listen();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: {error}");
            return Exit::Error.into();
        }
    };
    match runtime.block_on(run(&cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let mut lines = failure.what.lines();
            print::errln(&Line::styled(BAD, "Error: ").and(lines.next().unwrap_or_default()));
            for line in lines.chain(failure.advice.iter().flat_map(|advice| advice.lines())) {
                print::errln(&Line::plain(line));
            }
            failure.exit.into()
        }
    }
}

async fn run(cli: &Cli) -> Outcome {
    let connection = &cli.connection;
    if let Command::Explain(args) = &cli.command {
        return look::explain(connection, args).await;
    }
    let cluster = Cluster::connect(connection).await?;
    match &cli.command {
        Command::Watch(args) => match args.of.named() {
            Named::One(name) => watch::run(&cluster, name, args).await,
            Named::Batch(name) => Box::pin(batch::watch(&cluster, name, args)).await,
        },
        Command::Status(args) => look::status(&cluster, args).await,
        Command::List(args) => look::list(&cluster, args).await,
        Command::Holds(args) => look::holds(&cluster, args).await,
        Command::Export(args) => look::export(&cluster, args).await,
        Command::Plan(args) => match &args.many.batch {
            None => Box::pin(act::plan(&cluster, args)).await,
            Some(name) => Box::pin(batch::plan(&cluster, name, args)).await,
        },
        Command::Create(args) => Box::pin(act::create(&cluster, args)).await,
        Command::Run(args) => match args.of.named() {
            Named::One(name) => Box::pin(act::run(&cluster, name, args)).await,
            Named::Batch(name) => Box::pin(batch::run(&cluster, name, args)).await,
        },
        Command::Undo(args) => match args.of.named() {
            Named::One(name) => Box::pin(act::undo(&cluster, name, args)).await,
            Named::Batch(name) => Box::pin(batch::undo(&cluster, name, args)).await,
        },
        Command::Cancel(args) => match args.of.named() {
            Named::One(name) => Box::pin(act::cancel(&cluster, name, args)).await,
            Named::Batch(name) => Box::pin(batch::cancel(&cluster, name, args)).await,
        },
        Command::Suspend(args) => act::suspend(&cluster, args, true).await,
        Command::Resume(args) => act::suspend(&cluster, args, false).await,
        Command::Prune(args) => Box::pin(act::prune(&cluster, args)).await,
        Command::Check(args) => Box::pin(check::check(&cluster, args)).await,
        Command::Report(args) => Box::pin(report::report(&cluster, args)).await,
        Command::Explain(_) | Command::Completion | Command::Version | Command::Docs => Ok(Exit::Done),
    }
}
