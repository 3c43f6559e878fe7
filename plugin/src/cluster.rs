//! The cluster: which one, as whom, and the objects in it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Request;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DynamicObject, ListParams},
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use offset_reset_operator::{
    api::{OffsetReset, PartitionStatus},
    kubernetes::{ReportRead, Reports, chain},
};
use tower::{Service, layer::layer_fn};

use crate::{
    cli::Connection,
    exit::{Failure, Outcome},
    print::errln,
    view::Line,
};

/// How long the API server may take to answer before a line says that it has not.
const PATIENCE: Duration = Duration::from_secs(2);

/// The label of the OffsetResets of a batch: its name.
pub const BATCH: &str = "offsetreset.dev/batch";

/// The label selector of a batch.
pub fn selector_of(batch: &str) -> String {
    format!("{BATCH}={batch}")
}

/// Whether an OffsetReset belongs to a batch.
pub fn is_of_batch(reset: &OffsetReset, batch: &str) -> bool {
    reset.labels().get(BATCH).is_some_and(|of| of == batch)
}

/// How many objects of a batch are created or deleted at the same time.
pub const AT_ONCE: usize = 8;

/// How many objects one request lists.
const PAGE: u32 = 500;

/// Lists all objects of one kind, page by page.
pub async fn list_all(api: &Api<DynamicObject>, labels: Option<&str>) -> kube::Result<Vec<DynamicObject>> {
    let (mut found, mut params) = (vec![], ListParams::default().limit(PAGE));
    params.label_selector = labels.map(str::to_owned);
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(found),
        }
    }
}

/// The annotation of a workload, or of its pods' template, that names its consumer group.
pub const GROUP: &str = "offsetreset.dev/group";

/// The cluster that the commands speak to.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace of `--namespace`, or of the context.
    pub namespace: String,
    /// The name of the context.
    pub context: String,
}

impl Cluster {
    /// Connects as the options say; nothing is sent yet.
    pub async fn connect(options: &Connection) -> Outcome<Self> {
        let (mut config, context) = configured(options).await?;
        config.auth_info.impersonate = options.r#as.clone().or(config.auth_info.impersonate);
        if !options.as_group.is_empty() {
            config.auth_info.impersonate_groups = Some(options.as_group.clone());
        }
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = client(config).map_err(|error| {
            Failure::new(format!("cannot use the context {context}: {}", chain(&error)))
                .advice("Check that kubectl itself works with it: kubectl version")
        })?;
        Ok(Self { client, namespace, context })
    }

    /// The OffsetResets of the namespace.
    pub fn resets(&self) -> Api<OffsetReset> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One OffsetReset.
    pub async fn reset(&self, name: &str) -> Outcome<OffsetReset> {
        let found = self.resets().get(name).await;
        found.map_err(|error| Failure::request(&format!("read OffsetReset {}/{name}", self.namespace), &error))
    }

    /// All partitions of a reset: those of the status, or of the report when the status has not all.
    pub async fn partitions(&self, reset: &OffsetReset) -> Outcome<Vec<PartitionStatus>> {
        let Some(status) = &reset.status else { return Ok(vec![]) };
        if status.partitions_omitted == 0 {
            return Ok(status.partitions.clone());
        }
        let read = Reports::new(self.client.clone()).read(reset).await;
        match read.map_err(|error| Failure::request(&format!("read the report of {}", reset.name_any()), &error))? {
            ReportRead::Found(report) => Ok(report.partitions),
            ReportRead::Missing | ReportRead::Unreadable { .. } => {
                errln(&Line::plain(format!(
                    "⚠ the report of {} is missing or cannot be read, so this shows {} of {} partitions",
                    reset.name_any(),
                    status.partitions.len(),
                    status.partitions.len() + usize::try_from(status.partitions_omitted).unwrap_or_default()
                )));
                Ok(status.partitions.clone())
            }
        }
    }
}

/// A client that prints a line when the API server does not answer.
fn client(config: Config) -> Result<Client, kube::Error> {
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let is_said = Arc::new(AtomicBool::new(false));
    let patient = layer_fn(move |service| Patient { service, host: host.clone(), is_said: Arc::clone(&is_said) });
    Ok(ClientBuilder::try_from(config)?.with_layer(&patient).build())
}

/// Prints once that an answer takes long.
struct Patient<S> {
    service: S,
    host: String,
    is_said: Arc<AtomicBool>,
}

impl<B, S: Service<Request<B>, Future: Send + 'static>> Service<Request<B>> for Patient<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The first watch of a kind may begin late.
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let (mut answer, host, is_said) = (Box::pin(self.service.call(request)), self.host.clone(), Arc::clone(&self.is_said));
        Box::pin(async move {
            if let Ok(answer) = tokio::time::timeout(PATIENCE, answer.as_mut()).await {
                return answer;
            }
            if !is_watch && !is_said.swap(true, Ordering::Relaxed) {
                unanswered(&host);
            }
            answer.await
        })
    }
}

fn unanswered(host: &str) {
    // The live screen shows errors itself.
    if !crate::interrupt::has_live_screen() {
        let words = format!("the API server at {host} has not answered for {} s; waiting. Ctrl-C ends it.", PATIENCE.as_secs());
        errln(&Line::warning(words));
    }
}

async fn configured(options: &Connection) -> Outcome<(Config, String)> {
    let wrong = |error: kube::config::KubeconfigError| {
        Failure::new(format!("cannot read the kubeconfig: {}", chain(&error)))
            .advice("Check --kubeconfig, KUBECONFIG and --context: kubectl config get-contexts")
    };
    let read = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(PathBuf::from(path)).map(Some).map_err(wrong)?,
        None => match Kubeconfig::read() {
            Ok(found) => Some(found),
            // In a pod there is none.
            Err(_) if options.context.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => None,
            Err(error) => return Err(wrong(error)),
        },
    };
    let Some(kubeconfig) = read else {
        let config =
            Config::incluster().map_err(|error| Failure::new(format!("cannot connect from this pod: {}", chain(&error))))?;
        return Ok((config, "in-cluster".to_owned()));
    };
    let context = options.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Ok((Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(wrong)?, context))
}
