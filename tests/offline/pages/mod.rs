//! The pages of the docs: what is generated is current, and each code block says what the tests do with it. The suite `pages` of
//! the tests on real parts applies the manifests and runs the commands.

mod api;
mod marks;
mod phases;
#[path = "../../pages/mod.rs"]
#[allow(dead_code, reason = "the suite on real parts uses the rest")]
mod source;

use std::{fs, path::Path};

/// With this in the environment a generated file is written instead of compared.
const WRITE: &str = "WRITE_PAGES";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails when a committed file is not what would be generated.
fn is_current(path: &str, generated: &str) {
    let file = root().join(path);
    if std::env::var_os(WRITE).is_some() {
        fs::write(file, generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(committed == generated, "{path} is not current: run `make pages` and commit it");
}

/// The files that `make pages` writes.
mod written {
    use super::{api, is_current, phases};

    #[test]
    fn the_picture_of_the_phases_is_current() {
        is_current("docs/start/phases.svg", &phases::picture());
    }

    #[test]
    fn the_page_of_the_phases_is_current() {
        is_current("docs/start/phases.md", &phases::page());
    }

    #[test]
    fn the_page_of_the_fields_is_current() {
        is_current("docs/api.md", &api::page());
    }
}
