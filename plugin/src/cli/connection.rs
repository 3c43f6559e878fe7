//! Which cluster, as whom.

use clap::Args;

/// Which cluster, as whom.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The namespace; by default the one of the context.
    #[arg(short, long, global = true, value_name = "NAMESPACE", hide_short_help = true)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long, global = true, value_name = "CONTEXT", hide_short_help = true)]
    pub context: Option<String>,
    /// The kubeconfig file; by default KUBECONFIG, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kubeconfig: Option<String>,
    /// The user to impersonate.
    #[arg(long, global = true, value_name = "USER", hide_short_help = true)]
    pub r#as: Option<String>,
    /// A group to impersonate; repeat it for several.
    #[arg(long, global = true, value_name = "GROUP", hide_short_help = true)]
    pub as_group: Vec<String>,
}
