//! `cargo sandbox`: the sandbox on the command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sandbox::{Parts, Sandbox, build::Cache, images, supervisor};

/// A real single-node Kubernetes and a real Apache Kafka on this machine, for tests, demo and benchmarks.
#[derive(Parser)]
#[command(name = "cargo sandbox")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
    /// Which sandbox: several can run side by side.
    #[arg(long, global = true, default_value = "default", env = "SANDBOX")]
    name: String,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds the parts into the cache: once, a quarter of an hour on two cores.
    Build,
    /// Builds Kafka's tools only, for a cluster of one's own, and prints the directory with the commands.
    KafkaTools,
    /// Starts a sandbox.
    Up {
        /// What runs in it.
        #[arg(long, value_enum, default_value = "node")]
        parts: Parts,
    },
    /// Runs a command inside, with `KUBECONFIG` and `KAFKA_BOOTSTRAP_SERVERS` set, kubectl and Kafka's tools on the PATH.
    Exec {
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Says what runs.
    Status,
    /// Prints the log of a part.
    Logs {
        /// kube-apiserver, kubelet, kafka, ...
        part: String,
    },
    /// Builds an image and loads it into the sandbox's node.
    Image {
        /// Which image.
        #[arg(value_enum)]
        image: images::Image,
        /// The operator's binary, for the image of the operator.
        #[arg(long, default_value = "target/debug/offset-reset-operator")]
        binary: std::path::PathBuf,
        /// Builds the archive only, and prints where it is.
        #[arg(long)]
        archive_only: bool,
    },
    /// Loads an image archive into the sandbox's node.
    Load {
        /// A docker or OCI archive.
        archive: std::path::PathBuf,
    },
    /// Ends it and leaves nothing behind.
    Down,
    /// The first process inside; started by `up`.
    #[command(hide = true)]
    Supervise {
        /// What runs in it.
        #[arg(long, value_enum)]
        parts: Parts,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let sandbox = Sandbox::new(&arguments.name)?;
    match arguments.command {
        Verb::Build => Cache::locate().ensure(),
        Verb::KafkaTools => {
            let cache = Cache::locate();
            cache.ensure_kafka()?;
            println!("{}", cache.kafka.join("bin").display());
            Ok(())
        }
        Verb::Up { parts } => sandbox.up(parts),
        Verb::Exec { command } => sandbox.exec(&command),
        Verb::Status => sandbox.status(),
        Verb::Logs { part } => {
            print!("{}", sandbox.log(&part)?);
            Ok(())
        }
        Verb::Image { image, binary, archive_only } => {
            let archive = images::build(image, &binary)?;
            if archive_only {
                println!("{}", archive.display());
                return Ok(());
            }
            images::load(&sandbox, &archive)
        }
        Verb::Load { archive } => images::load(&sandbox, &archive),
        Verb::Down => sandbox.down(),
        Verb::Supervise { parts } => supervisor::run(&arguments.name, sandbox.dir(), parts),
    }
}
