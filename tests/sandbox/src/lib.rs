//! The sandbox: a real single-node Kubernetes and a real Apache Kafka on this machine, without Docker and without an image
//! registry, in network, mount and PID namespaces of their own.
//!
//! | file | what it does |
//! |---|---|
//! | `environment` | what tests ask: which cluster and which broker, explicitly given and never guessed |
//! | `build` | builds the pinned parts once, into a cache outside the checkout |
//! | `ecosystem` | KEDA and Flux, which only some tests need, in the same cache |
//! | `packages` | installs what is missing of the system, or says what is missing |
//! | `debian` | programs out of Debian's packages, without installing them |
//! | `pki`, `config` | certificates and configuration files |
//! | `broker` | asks Kafka whether it serves groups yet |
//! | `supervisor` | the first process of the namespaces: starts the parts, waits until they serve, reaps |
//! | `control` | what the supervisor can be told meanwhile: kill, start, freeze or thaw a part |
//! | `instance` | up, exec, status, logs, down |
//! | `images` | images without a registry: built here, loaded into the node's containerd |

mod broker;
pub mod build;
mod config;
mod control;
pub mod debian;
mod ecosystem;
pub mod environment;
pub mod images;
pub mod instance;
pub mod packages;
mod pki;
pub mod supervisor;

pub use config::KAFKA;
pub use control::Order;
pub use ecosystem::Ecosystem;
pub use environment::{Environment, environment};
pub use instance::{Makeup, Parts, Sandbox};
