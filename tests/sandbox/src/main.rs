//! `cargo sandbox`: the sandbox on the command line.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use sandbox::{Ecosystem, Makeup, Order, Sandbox, build::Cache, debian, images, supervisor};

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
    Build {
        /// KEDA and Flux as well: another quarter of an hour or more.
        #[arg(long)]
        ecosystem: bool,
        /// Builds nothing; fails when something is missing.
        #[arg(long, requires = "ecosystem")]
        check: bool,
    },
    /// Builds Kafka's tools only, for a cluster of one's own, and prints the directory with the commands.
    KafkaTools {
        /// Those of the older line, Kafka 3, which has no commands: prints the directory with its jars.
        #[arg(long)]
        kafka_3: bool,
    },
    /// Builds what manifests are tested with only, for a cluster of one's own, and prints the directories for the PATH.
    ManifestTools,
    /// Starts a sandbox.
    Up {
        #[command(flatten)]
        makeup: Makeup,
        /// Builds only the parts of the cluster: neither Helm nor the other tools of the tests.
        #[arg(long, conflicts_with = "also_kafka_3")]
        cluster_only: bool,
    },
    /// Prints the folder of Debian's Prometheus and promtool, for the tests of the alerts and the dashboard.
    Prometheus,
    /// Runs a command inside, with `KUBECONFIG` and `KAFKA_BOOTSTRAP_SERVERS` set, kubectl, Helm and Kafka's tools on the PATH.
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
    /// Ends a part with SIGKILL.
    Kill {
        /// kube-apiserver, kubelet, kafka, ...
        part: String,
    },
    /// Starts a part that has ended, and waits until it serves.
    Start {
        /// kube-apiserver, kubelet, kafka, ...
        part: String,
    },
    /// Stops a part with SIGSTOP: its connections stay, and nobody answers.
    Freeze {
        /// kube-apiserver, kubelet, kafka, ...
        part: String,
    },
    /// Lets a frozen part go on.
    Thaw {
        /// kube-apiserver, kubelet, kafka, ...
        part: String,
    },
    /// Builds an image and loads it into the sandbox's node.
    Image {
        /// Which image.
        #[arg(value_enum)]
        image: images::Image,
        /// The binary of which the image is made, for all but Kafka's clients.
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
        #[command(flatten)]
        makeup: Makeup,
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
        Verb::Build { check: true, .. } => {
            let ecosystem = Ecosystem::locate();
            if !ecosystem.is_built() {
                bail!("KEDA and Flux are not built; `cargo sandbox build --ecosystem` builds them");
            }
            println!("KEDA is in {}, Flux in {}", ecosystem.keda.display(), ecosystem.flux.display());
            Ok(())
        }
        Verb::Build { ecosystem, check: false } => {
            Cache::locate().ensure()?;
            if ecosystem { Ecosystem::locate().ensure() } else { Ok(()) }
        }
        Verb::KafkaTools { kafka_3: true } => {
            let cache = Cache::locate();
            cache.ensure_kafka_3()?;
            println!("{}", cache.kafka_3.join("libs").display());
            Ok(())
        }
        Verb::KafkaTools { kafka_3: false } => {
            let cache = Cache::locate();
            cache.ensure_kafka()?;
            println!("{}", cache.kafka.join("bin").display());
            Ok(())
        }
        Verb::Prometheus => {
            println!("{}", debian::prometheus()?.display());
            Ok(())
        }
        Verb::ManifestTools => {
            let cache = Cache::locate();
            cache.ensure_manifest_tools()?;
            println!("{}:{}", cache.helm.display(), cache.gitops.display());
            Ok(())
        }
        Verb::Up { makeup, cluster_only } => sandbox.up(makeup, cluster_only),
        Verb::Exec { command } => sandbox.exec(&command),
        Verb::Status => sandbox.status(),
        Verb::Logs { part } => {
            print!("{}", sandbox.log(&part)?);
            Ok(())
        }
        Verb::Kill { part } => sandbox.order(Order::Kill, &part),
        Verb::Start { part } => sandbox.order(Order::Start, &part),
        Verb::Freeze { part } => sandbox.order(Order::Freeze, &part),
        Verb::Thaw { part } => sandbox.order(Order::Thaw, &part),
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
        Verb::Supervise { makeup } => supervisor::run(&arguments.name, sandbox.dir(), makeup),
    }
}
