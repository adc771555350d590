//! What the operator decides about a Kubernetes cluster.

use super::secret;
use crate::views::IngressDomain;
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use kubernetes::{
    connection::ConnectionSettings,
    settings::{DatabaseProvider, GivenServer, IngressSettings, PeerLabels, Runtime, Settings},
};
use model::InstallationId;
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, path::PathBuf};

/// What makes sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OrchestratorKind {
    /// This machine.
    #[default]
    Local,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// How the image brings what serves the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeKind {
    /// The image contains the sandbox agent.
    Agent,
    /// An init container (--agent-image) puts the agent in.
    Injected,
    /// The image runs stock ttyd on 7681: no files, ports or resume.
    Ttyd,
}

/// What makes projects' databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// KubeBlocks where its API is served, else a StatefulSet.
    Auto,
    /// KubeBlocks.
    Kubeblocks,
    /// A StatefulSet of PostgreSQL for each project.
    Statefulset,
    /// A PostgreSQL server that is there: FSA_DATABASE_SERVER_URL.
    Server,
}

/// What `serve` and `doctor` take for a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// What makes sandboxes: this machine, or a Kubernetes cluster
    #[arg(long, env = "FSA_ORCHESTRATOR", value_name = "WHAT", value_enum, default_value = "local")]
    pub orchestrator: OrchestratorKind,
    /// The cluster's kubeconfig [default: kubeconfig in --secret-dir, else the account of the pod that this runs in]
    #[arg(long, env = "FSA_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The one namespace in which everything is made [default: the kubeconfig's, or the pod's own]
    #[arg(long, env = "FSA_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// A kubeconfig may name a server at localhost: a cluster on this machine, such as kind or k3d
    #[arg(long, env = "FSA_ALLOW_LOOPBACK_CLUSTER")]
    pub allow_loopback_cluster: bool,
    /// A kubeconfig may name programs that get its credentials: they run as this user
    #[arg(long, env = "FSA_ALLOW_EXEC_CREDENTIALS")]
    pub allow_exec_credentials: bool,
    /// The image that sandboxes run
    #[arg(long, env = "FSA_IMAGE", value_name = "IMAGE", default_value = kubernetes::settings::DEFAULT_IMAGE)]
    pub image: String,
    /// How the image brings what serves the terminal
    #[arg(long, env = "FSA_RUNTIME", value_name = "HOW", value_enum, default_value = "agent")]
    pub runtime: RuntimeKind,
    /// The image of the sandbox agent alone, for --runtime injected
    #[arg(long, env = "FSA_AGENT_IMAGE", value_name = "IMAGE")]
    pub agent_image: Option<String>,
    /// When images are pulled: IfNotPresent, Always or Never
    #[arg(long, env = "FSA_IMAGE_PULL_POLICY", value_name = "WHEN", default_value = "IfNotPresent", value_parser = ["IfNotPresent", "Always", "Never"])]
    pub image_pull_policy: String,
    /// Secrets of the namespace with the credentials of private registries
    #[arg(long, env = "FSA_IMAGE_PULL_SECRETS", value_name = "NAME", value_delimiter = ',')]
    pub image_pull_secrets: Vec<String>,
    /// The class of home folders' volumes [default: the cluster's]
    #[arg(long, env = "FSA_STORAGE_CLASS", value_name = "NAME")]
    pub storage_class: Option<String>,
    /// The domain of sandboxes' Ingresses: NAME.DOMAIN is the application; without it none are made
    #[arg(long, env = "FSA_INGRESS_DOMAIN", value_name = "DOMAIN")]
    pub ingress_domain: Option<String>,
    /// The Secret of a certificate for that domain
    #[arg(long, env = "FSA_INGRESS_TLS_SECRET", value_name = "NAME", requires = "ingress_domain")]
    pub ingress_tls_secret: Option<String>,
    /// The class of Ingresses [default: the cluster's]
    #[arg(long, env = "FSA_INGRESS_CLASS", value_name = "NAME", requires = "ingress_domain")]
    pub ingress_class: Option<String>,
    /// Annotations of Ingresses, instead of nginx's; may be given several times
    #[arg(long, env = "FSA_INGRESS_ANNOTATIONS", value_name = "KEY=VALUE", value_delimiter = ',', requires = "ingress_domain")]
    pub ingress_annotation: Vec<String>,
    /// Where Ingresses ask who comes: this server's address inside the cluster
    #[arg(long, env = "FSA_INGRESS_AUTH_URL", value_name = "URL", requires = "ingress_domain")]
    pub ingress_auth_url: Option<String>,
    /// The namespace of the ingress controller, which may reach sandboxes' ports 3000 and 7681
    #[arg(long, env = "FSA_INGRESS_NAMESPACE", value_name = "NAME")]
    pub ingress_namespace: Option<String>,
    /// Labels of the pods that this server runs as, which alone may reach the sandboxes' agents; may be given several times
    #[arg(long, env = "FSA_CONTROL_PLANE_LABELS", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub control_plane_label: Vec<String>,
    /// The namespace of these pods [default: that of the pod that this runs in, else --namespace]
    #[arg(long, env = "FSA_CONTROL_PLANE_NAMESPACE", value_name = "NAME")]
    pub control_plane_namespace: Option<String>,
    /// Addresses that sandboxes never reach, beside private ones and what is known of the apiserver's
    #[arg(long, env = "FSA_EGRESS_DENY", value_name = "CIDR", value_delimiter = ',')]
    pub egress_deny: Vec<String>,
    /// What makes projects' databases
    #[arg(long, env = "FSA_DATABASE_PROVIDER", value_name = "WHAT", value_enum, default_value = "auto")]
    pub database_provider: ProviderKind,
    /// The namespace of the pods of FSA_DATABASE_SERVER_URL's server, where it is one of the cluster's own
    #[arg(long, env = "FSA_DATABASE_SERVER_NAMESPACE", value_name = "NAME")]
    pub database_server_namespace: Option<String>,
    /// PostgreSQL's image, for a StatefulSet
    #[arg(long, env = "FSA_DATABASE_IMAGE", value_name = "IMAGE", default_value = "postgres:17")]
    pub database_image: String,
    /// How many replicas a database has; more than 1 takes KubeBlocks
    #[arg(long, env = "FSA_DATABASE_REPLICAS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub database_replicas: u16,
    /// The class of databases' volumes [default: --storage-class]
    #[arg(long, env = "FSA_DATABASE_STORAGE_CLASS", value_name = "NAME")]
    pub database_storage_class: Option<String>,
}

impl KubernetesArgs {
    /// Which cluster, and what of its kubeconfig is allowed.
    #[must_use]
    pub fn connection(&self, secret_dir: PathBuf) -> ConnectionSettings {
        ConnectionSettings {
            kubeconfig: self.kubeconfig.clone(),
            secret_dir,
            allow_loopback_cluster: self.allow_loopback_cluster,
            allow_exec_credentials: self.allow_exec_credentials,
            namespace: self.namespace.clone(),
        }
    }

    /// Where browsers reach Ingresses.
    #[must_use]
    pub fn ingress(&self) -> Option<IngressDomain> {
        let scheme = if self.ingress_tls_secret.is_some() { "https" } else { "http" };
        self.domain().map(|domain| IngressDomain { scheme: scheme.to_owned(), domain })
    }

    fn domain(&self) -> Option<String> {
        self.ingress_domain.as_ref().map(|domain| domain.trim().trim_start_matches("*.").to_ascii_lowercase())
    }

    /// Everything that objects are made by.
    ///
    /// # Errors
    /// What is wrong, and an example of right.
    pub fn settings(&self, installation: InstallationId, namespace: &str, public: &str) -> Result<Settings> {
        let mut settings = Settings::new(installation, namespace);
        settings.image.clone_from(&self.image);
        settings.runtime = match (self.runtime, &self.agent_image) {
            (RuntimeKind::Agent, _) => Runtime::Agent,
            (RuntimeKind::Ttyd, _) => Runtime::Ttyd,
            (RuntimeKind::Injected, Some(image)) => Runtime::Injected { image: image.clone() },
            (RuntimeKind::Injected, None) => {
                bail!(
                    "--runtime injected needs the agent's image. Write for example `--agent-image registry.example.com/agent:1`."
                )
            }
        };
        settings.image_pull_policy.clone_from(&self.image_pull_policy);
        settings.image_pull_secrets.clone_from(&self.image_pull_secrets);
        settings.storage_class.clone_from(&self.storage_class);
        settings.control_plane_labels = pairs("--control-plane-label", &self.control_plane_label)?;
        settings.control_plane_namespace = self.control_plane_namespace.clone().or_else(kubernetes::connection::own_namespace);
        settings.denied_egress.clone_from(&self.egress_deny);
        settings.ingress_controller =
            self.ingress_namespace.clone().map(|namespace| PeerLabels { namespace, labels: BTreeMap::new() });
        let annotations = pairs("--ingress-annotation", &self.ingress_annotation)?;
        if let Some(domain) = self.domain()
            && self.ingress_auth_url.is_none()
            && annotations.is_empty()
        {
            bail!(
                "--ingress-domain {domain} without --ingress-auth-url would open every application to whoever finds its host. Write for example `--ingress-auth-url http://fullstack-agent.team.svc:4000`, this server's address as the ingress controller reaches it; a controller that asks otherwise is told so by `--ingress-annotation`."
            );
        }
        settings.ingress = self.domain().map(|domain| IngressSettings {
            domain,
            tls_secret: self.ingress_tls_secret.clone(),
            class: self.ingress_class.clone(),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            auth_url: self.ingress_auth_url.clone(),
            sign_in_url: Some(public.to_owned()),
        });
        settings.database.provider = match self.database_provider {
            ProviderKind::Auto => DatabaseProvider::Auto,
            ProviderKind::Kubeblocks => DatabaseProvider::KubeBlocks,
            ProviderKind::Statefulset => DatabaseProvider::StatefulSet,
            ProviderKind::Server => DatabaseProvider::Server,
        };
        settings.database.server = self.server(secret(SERVER_URL).as_ref())?;
        if self.database_provider == ProviderKind::Statefulset && self.database_replicas > 1 {
            bail!(
                "--database-replicas {} takes KubeBlocks, and databases are to be StatefulSets of one. Write `--database-replicas 1`, or `--database-provider kubeblocks`.",
                self.database_replicas
            );
        }
        settings.database.image.clone_from(&self.database_image);
        settings.database.replicas = self.database_replicas;
        settings.database.storage_class.clone_from(&self.database_storage_class);
        Ok(settings)
    }

    /// The PostgreSQL server at an address that was given.
    fn server(&self, url: Option<&SecretString>) -> Result<Option<GivenServer>> {
        let write = format!("Write for example `{SERVER_URL}=postgresql://admin:password@db.example.com:5432/postgres`.");
        let Some(url) = url else {
            if self.database_provider == ProviderKind::Server {
                bail!("--database-provider server needs the address of the server. {write}");
            }
            return Ok(None);
        };
        let server = GivenServer::parse(url.expose_secret(), self.database_server_namespace.clone());
        server.map(Some).map_err(|wrong| anyhow!("{SERVER_URL}: {wrong}. {write}"))
    }
}

/// The address of a given PostgreSQL server, with the password of who may create roles there: no flag.
const SERVER_URL: &str = "FSA_DATABASE_SERVER_URL";

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.trim().is_empty())?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    texts
        .iter()
        .map(|text| {
            pair(text)
                .ok_or_else(|| anyhow!("{flag} {text}: that is no KEY=VALUE. Write for example `{flag} app=fullstack-agent`."))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: KubernetesArgs,
    }

    fn settings(line: &[&str]) -> Result<Settings> {
        let args = Line::try_parse_from([&["x"], line].concat())?.args;
        args.settings(InstallationId(uuid::Uuid::nil()), "team", "https://fsa.example")
    }

    #[test]
    fn flags_become_settings() {
        let set = settings(&[
            "--ingress-domain=*.Apps.example",
            "--ingress-annotation=a.b/c=d",
            "--control-plane-label",
            "app=fsa",
            "--control-plane-namespace=platform",
            "--runtime=injected",
            "--agent-image=agent:1",
        ])
        .unwrap();
        let ingress = set.ingress.unwrap();
        assert_eq!((ingress.domain.as_str(), ingress.sign_in_url.as_deref()), ("apps.example", Some("https://fsa.example")));
        assert_eq!(ingress.annotations.unwrap().get("a.b/c").map(String::as_str), Some("d"));
        assert_eq!(set.control_plane_labels.get("app").map(String::as_str), Some("fsa"));
        assert_eq!(set.control_plane_namespace.as_deref(), Some("platform"));
        assert_eq!(set.runtime, Runtime::Injected { image: "agent:1".into() });
        assert_eq!(set.namespace, "team");
    }

    #[test]
    fn a_server_is_given_by_its_address() {
        let args = Line::try_parse_from(["x", "--database-provider=server", "--database-server-namespace=data"]).unwrap().args;
        let server = |url: &str| args.server(Some(&SecretString::from(url)));
        let given = server("postgresql://admin:hunter2@postgres.data.svc/postgres").unwrap().unwrap();
        assert_eq!((given.host.as_str(), given.port), ("postgres.data.svc", 5432));
        assert_eq!(given.pods.map(|pods| pods.namespace).as_deref(), Some("data"));
        for wrong in ["mysql", "postgresql://admin:hunter2@localhost/postgres"] {
            let error = server(wrong).unwrap_err().to_string();
            assert!(error.contains("db.example.com:5432") && !error.contains("hunter2"), "{error}");
        }
        let other = Line::try_parse_from(["x"]).unwrap().args;
        assert!(other.server(None).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (line, right) in [
            (&["--runtime=injected"][..], "--agent-image registry.example.com/agent:1"),
            (&["--control-plane-label=app"], "--control-plane-label app=fullstack-agent"),
            (&["--ingress-class=nginx"], "--ingress-domain"),
            (&["--ingress-domain=apps.example"], "--ingress-auth-url http://"),
            (&["--database-replicas=0"], "1..=9"),
            (&["--database-provider=server"], "FSA_DATABASE_SERVER_URL=postgresql://"),
            (&["--database-replicas=2", "--database-provider=statefulset"], "--database-provider kubeblocks"),
        ] {
            let error = settings(line).unwrap_err().to_string();
            assert!(error.contains(right), "{line:?}: {error}");
        }
    }
}
