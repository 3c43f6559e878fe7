//! The parts of the sandbox in which the tests run, taken away from everybody in it.

use sandbox::{Order, Sandbox};

pub const BROKER: &str = "kafka";
pub const API_SERVER: &str = "kube-apiserver";

/// A part that is away. It comes back also when the test fails, for others use it too.
#[must_use]
pub struct Away {
    part: &'static str,
    back: Option<Order>,
}

impl Away {
    /// Ends a part with SIGKILL.
    pub async fn killed(part: &'static str) -> Self {
        Self::take(Order::Kill, part, Order::Start).await
    }

    /// Stops a part with SIGSTOP: its connections stay, and nobody answers.
    pub async fn frozen(part: &'static str) -> Self {
        Self::take(Order::Freeze, part, Order::Thaw).await
    }

    async fn take(how: Order, part: &'static str, back: Order) -> Self {
        order(how, part).await;
        Self { part, back: Some(back) }
    }

    /// Brings it back, and waits until it serves.
    pub async fn back(mut self) {
        if let Some(back) = self.back.take() {
            order(back, self.part).await;
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let _ = here().order(back, self.part);
        }
    }
}

async fn order(order: Order, part: &'static str) {
    let done = tokio::task::spawn_blocking(move || here().order(order, part)).await.unwrap();
    done.unwrap_or_else(|error| panic!("{error:#}"));
}

fn here() -> Sandbox {
    let name = std::env::var("SANDBOX_NAME").expect("only a sandbox's parts can be taken away: use `cargo sandbox exec`");
    Sandbox::new(&name).unwrap()
}
