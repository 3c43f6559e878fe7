//! Programs out of Debian's packages, without installing them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::build::cache_dir;

/// The folder of Debian's `prometheus` and `promtool`, which are unpacked once.
///
/// # Errors
/// When the package cannot be downloaded or unpacked.
pub fn prometheus() -> Result<PathBuf> {
    let dir = cache_dir().join("prometheus");
    let programs = PathBuf::from("usr/bin");
    if dir.join(&programs).is_dir() {
        return Ok(dir.join(programs));
    }
    let new = dir.with_extension(format!("new-{}", std::process::id()));
    unpack(&["prometheus"], &new)?;
    // Another process may have been faster, and its programs are the same.
    if fs::rename(&new, &dir).is_err() {
        fs::remove_dir_all(&new)?;
    }
    Ok(dir.join(programs))
}

/// Downloads Debian packages and unpacks them.
pub fn unpack(packages: &[&str], root: &Path) -> Result<()> {
    let debs = root.with_extension("debs");
    fs::create_dir_all(&debs)?;
    fs::create_dir_all(root)?;
    let download = || run(Command::new("apt-get").arg("download").args(packages).current_dir(&debs));
    // A machine whose lists were never fetched knows no packages.
    if download().is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download()?;
    }
    for deb in fs::read_dir(&debs)? {
        run(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(root))?;
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
