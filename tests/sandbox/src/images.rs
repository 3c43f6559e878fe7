//! Images without a registry: built here by buildah from Debian's packages and what this machine has, loaded into the node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    build::{Cache, cache_dir, key},
    config::PAUSE_IMAGE,
    debian::{run, unpack},
    instance::Sandbox,
};

/// What can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Image {
    /// The operator, from the repository's Dockerfile: `offset-reset-operator:dev`.
    Operator,
    /// Kafka's own clients on a JRE: `kafka-client:dev`.
    KafkaClient,
    /// The consumer of the benchmarks: `light-consumer:dev`.
    LightConsumer,
}

const PAUSE: &str = include_str!("../images/pause.Dockerfile");
const BASE: &str = include_str!("../images/base.Dockerfile");
const KAFKA_CLIENT: &str = include_str!("../images/kafka-client.Dockerfile");
const LIGHT_CONSUMER: &str = include_str!("../images/light-consumer.Dockerfile");
const OPERATOR: &str = include_str!("../../../Dockerfile");

/// What distroless/cc ships, by Debian's names.
const BASE_PACKAGES: [&str; 3] = ["libc6", "libgcc-s1", "ca-certificates"];
const BASE_IMAGE: &str = "localhost/sandbox-base:1";

/// What Kafka's clients need of the JDK.
const JAVA_MODULES: &str =
    "java.base,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,jdk.unsupported";

/// What the JVM needs of Debian beside libc.
const JAVA_LIBRARIES: [&str; 2] = ["libstdc++6", "zlib1g"];

/// Builds an image; its archive, which is kept and built again only when what it is made of has changed.
pub fn build(image: Image, binary: &Path) -> Result<PathBuf> {
    match image {
        Image::Operator => {
            let arguments = ["BINARY=prebuilt".to_owned(), format!("BASE={BASE_IMAGE}")];
            one_binary("operator", "offset-reset-operator", OPERATOR, binary, &arguments)
        }
        Image::KafkaClient => kafka_client(&Cache::locate()),
        Image::LightConsumer => {
            one_binary("light-consumer", "light-consumer", LIGHT_CONSUMER, binary, &[format!("BASE={BASE_IMAGE}")])
        }
    }
}

/// Loads an archive into a sandbox's node.
pub fn load(sandbox: &Sandbox, archive: &Path) -> Result<()> {
    let ctr = Cache::locate().runtime.join("ctr");
    let command = import(&ctr, sandbox.dir(), archive);
    let status = sandbox.command_inside(&command)?.status()?;
    if !status.success() {
        bail!("{} could not be loaded ({status})", archive.display());
    }
    Ok(())
}

/// Loads an archive, from inside the sandbox.
pub(crate) fn load_into(dir: &Path, cache: &Cache, archive: &Path) -> Result<()> {
    let words = import(&cache.runtime.join("ctr"), dir, archive);
    run(Command::new(&words[0]).args(&words[1..]))
}

fn import(ctr: &Path, dir: &Path, archive: &Path) -> Vec<String> {
    let (ctr, socket, archive) =
        (ctr.display().to_string(), dir.join("containerd.sock").display().to_string(), archive.display());
    let words = [&ctr, "--address", &socket, "-n", "k8s.io", "images", "import", "--local", &archive.to_string()];
    words.map(str::to_owned).into()
}

/// The image that stands for a pod's network.
pub(crate) fn pause_image() -> Result<PathBuf> {
    archive("pause", &key(&(PAUSE, PAUSE_IMAGE)), PAUSE_IMAGE, PAUSE, &[], |context| {
        fs::copy("/usr/bin/busybox", context.join("busybox"))?;
        Ok(())
    })
}

/// An image of one program, which was built on this machine.
fn one_binary(name: &str, program: &str, dockerfile: &str, binary: &Path, arguments: &[String]) -> Result<PathBuf> {
    base()?;
    let contents =
        fs::read(binary).with_context(|| format!("reading {}; build it first with `cargo build`", binary.display()))?;
    let tag = format!("docker.io/library/{program}:dev");
    archive(name, &key(&(dockerfile, &contents)), &tag, dockerfile, arguments, |context| {
        let target = context.join(program);
        fs::write(&target, &contents)?;
        fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        // A debug build is mostly names; without them it is a third of the size.
        let _ = Command::new("strip").arg("--strip-debug").arg(&target).status();
        Ok(())
    })
}

fn kafka_client(cache: &Cache) -> Result<PathBuf> {
    base()?;
    let arguments = [format!("BASE={BASE_IMAGE}")];
    let key = key(&(KAFKA_CLIENT, JAVA_MODULES, JAVA_LIBRARIES, &cache.kafka));
    archive("kafka-client", &key, "docker.io/library/kafka-client:dev", KAFKA_CLIENT, &arguments, |context| {
        run(Command::new("jlink")
            .args(["--add-modules", JAVA_MODULES, "--strip-debug", "--no-man-pages", "--no-header-files", "--output"])
            .arg(context.join("jre")))?;
        // Its own class data archive halves the time that a virtual machine takes to start.
        run(Command::new(context.join("jre/bin/java")).arg("-Xshare:dump"))?;
        unpack(&JAVA_LIBRARIES, &context.join("debian"))?;
        run(Command::new("cp").arg("-r").arg(cache.kafka.join("libs")).arg(context.join("libs")))
    })
}

/// The base of what is built here, made from Debian's packages; in buildah's own store.
fn base() -> Result<()> {
    archive("base", &key(&(BASE, BASE_PACKAGES)), BASE_IMAGE, BASE, &[], |context| {
        let root = context.join("root");
        unpack(&BASE_PACKAGES, &root)?;
        // Debian's package builds the bundle when it is configured; the certificates themselves are all there.
        let bundle = root.join("etc/ssl/certs");
        fs::create_dir_all(&bundle)?;
        let mut certificates = String::new();
        collect(&root.join("usr/share/ca-certificates"), &mut certificates)?;
        fs::write(bundle.join("ca-certificates.crt"), certificates)?;
        fs::create_dir_all(root.join("tmp"))?;
        fs::set_permissions(root.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
        )?;
        fs::write(root.join("etc/group"), "root:x:0:\nnonroot:x:65532:\n")?;
        Ok(())
    })?;
    Ok(())
}

fn collect(dir: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Builds an image with buildah, in a store of our own, and saves it as an archive named by what it is made of.
fn archive(
    name: &str,
    key: &str,
    tag: &str,
    dockerfile: &str,
    arguments: &[String],
    fill: impl Fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let dir = cache_dir().join("images");
    let archive = dir.join(format!("{name}-{key}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    eprintln!("sandbox: building the image {tag}");
    fs::create_dir_all(&dir)?;
    let lock = fs::File::create(dir.join("lock"))?;
    lock.lock()?;
    let context = dir.join(format!("{name}.context"));
    let _ = fs::remove_dir_all(&context);
    fs::create_dir_all(&context)?;
    fill(&context)?;
    fs::write(context.join("Dockerfile"), dockerfile)?;
    let mut build = buildah(&dir);
    build.args(["build", "--isolation", "chroot", "--layers=false", "--tag", tag]);
    for argument in arguments {
        build.args(["--build-arg", argument]);
    }
    run(build.arg(&context))?;
    let new = archive.with_extension("new");
    let _ = fs::remove_file(&new);
    run(buildah(&dir).args(["push", "-q", tag]).arg(format!("docker-archive:{}:{tag}", new.display())))?;
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let is_older = path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-")));
        if is_older && path.extension().is_some_and(|extension| extension == "tar") {
            fs::remove_file(path)?;
        }
    }
    fs::rename(&new, &archive)?;
    fs::remove_dir_all(&context)?;
    Ok(archive)
}

/// buildah with a store of its own: the user's images are not ours to touch.
fn buildah(dir: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(dir.join("store")).arg("--runroot").arg(dir.join("run")).args(["--storage-driver", "vfs"]);
    buildah
}
