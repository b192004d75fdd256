//! From flags, environment or the file of `quorate dev` to a client. It does not know what the client is for.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_client::{Authority, Client, Error, Options};
use quorate_core::error::ErrorCode;
use quorate_core::level::Level;

use crate::dev_file::{self, DevFile};
use crate::duration;
use crate::failure::{Usage, hinted};
use crate::identify::Identify;
use crate::output::{Format, Output};

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Members to connect to; else the `quorate dev` that was started last by this user
    #[arg(
        long,
        global = true,
        env = "QUORATE_CONNECT",
        value_name = "ADDR,...",
        value_delimiter = ',',
        help_heading = "Connection"
    )]
    pub connect: Vec<String>,
    /// Certificate of the authority that signs the members' certificates
    #[arg(
        long,
        global = true,
        env = "QUORATE_CA",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub ca: Option<PathBuf>,
    /// Name that the members' certificates are for, if it is not the one in the address
    #[arg(
        long,
        global = true,
        env = "QUORATE_SERVER_NAME",
        value_name = "NAME",
        help_heading = "Connection"
    )]
    pub server_name: Option<String>,
    /// The znode that is / for this command, as in `quorate --root /app ls /`; recipes know no root
    #[arg(
        long,
        global = true,
        env = "QUORATE_ROOT",
        value_name = "PATH",
        value_parser = root,
        help_heading = "Connection"
    )]
    pub root: Option<String>,
    #[command(flatten)]
    pub identify: Identify,
    /// How long to try to connect
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse, default_value = "10s", help_heading = "Connection")]
    pub connect_timeout: Duration,
    /// What is written
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value = "human",
        help_heading = "Output"
    )]
    pub output: Format,
    /// Say what is done, on standard error
    #[arg(long, short, global = true, help_heading = "Output")]
    pub verbose: bool,
    /// The highest feature level that this build knows.
    #[arg(skip = Level::NEWEST)]
    pub level: Level,
}

/// How long a client may take to end its session; afterwards the session expires by itself.
const GOODBYE: Duration = Duration::from_secs(2);

impl Global {
    /// For commands that are about the service, wherever the root of the tree is.
    #[must_use]
    pub fn without_root(&self) -> Self {
        Self { root: None, ..self.clone() }
    }

    /// The root, if it is not that of the whole tree.
    fn root_below(&self) -> Option<&str> {
        self.root.as_deref().filter(|root| *root != "/")
    }

    /// Refuses to show a part where the whole is meant.
    ///
    /// # Errors
    /// If there is a root.
    pub fn of_whole_tree(&self, what: &str) -> anyhow::Result<()> {
        self.root_below().map_or(Ok(()), |root| {
            let told = Usage(format!("{what} of the whole tree, and the root is {root}"));
            Err(hinted(told, "--root / stands for the whole tree, also where QUORATE_ROOT is set."))
        })
    }

    /// Says of a znode that is not there that this is below a root.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let code = error.downcast_ref::<Error>().map(Error::code);
        match self.root_below() {
            Some(root) if code == Some(ErrorCode::NoNode) => hinted(
                error,
                format!(
                    "The root is {root}, by --root or QUORATE_ROOT: `quorate stat /` shows whether it is there, and \
                     `quorate create / --parents` creates it."
                ),
            ),
            _ => error,
        }
    }

    /// Where results go.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::new(self.output, self.verbose)
    }

    /// What a client is started with.
    ///
    /// # Errors
    /// If nothing says where a server is, or whom to trust.
    pub fn options(&self) -> anyhow::Result<Options> {
        let file = dev_file::path();
        let dev = match &file {
            Ok(file) if self.connect.is_empty() || self.ca.is_none() => DevFile::load(file)?,
            _ => None,
        };
        let file = file.map_or_else(|_| String::new(), |file| file.display().to_string());
        let output = self.output();
        let addresses = match (&*self.connect, &dev) {
            ([], Some(dev)) => {
                output.note(format_args!("using {}, as {file} says", dev.address));
                let all = std::iter::once(&dev.address).chain(&dev.others);
                all.map(ToString::to_string).collect()
            }
            ([], None) => {
                return Err(hinted(
                    Usage("nothing says where a server is".to_owned()),
                    "Start one with `quorate dev`, or say where it is with --connect ADDR and --ca FILE.",
                ));
            }
            (given, _) => given.to_vec(),
        };
        let ca = match (&self.ca, dev) {
            (Some(ca), _) => ca.clone(),
            (None, Some(dev)) => {
                output.note(format_args!("trusting {}, as {file} says", dev.ca.display()));
                dev.ca
            }
            (None, None) => {
                return Err(hinted(
                    Usage("nothing says which authority to trust".to_owned()),
                    "Give the server's certificates/ca.pem with --ca FILE or QUORATE_CA.",
                ));
            }
        };
        let mut options = Options::new(addresses, Authority::File(ca));
        options.server_name.clone_from(&self.server_name);
        self.identify.show(&mut options)?;
        options.connect_timeout = self.connect_timeout;
        options.root.clone_from(&self.root);
        options.agent = concat!("quorate/", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(options)
    }

    /// Where the certificate of the authority is: its key may be beside it.
    ///
    /// # Errors
    /// If nothing says where that is.
    pub fn authority_directory(&self) -> anyhow::Result<PathBuf> {
        let ca = match &self.ca {
            Some(ca) => Some(ca.clone()),
            None => dev_file::path()
                .ok()
                .map(|file| DevFile::load(&file))
                .transpose()?
                .flatten()
                .map(|dev| dev.ca),
        };
        let ca = ca.ok_or_else(|| {
            hinted(
                Usage("nothing says which authority signs".to_owned()),
                "Name the directory of its ca.pem and ca-key.pem with --authority DIR.",
            )
        })?;
        Ok(ca.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// Connects, does something, and ends the session.
    ///
    /// # Errors
    /// What connecting or `work` gives.
    pub async fn with_client<T, F>(&self, work: impl FnOnce(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let client = Client::connect(self.options()?).await?;
        let result = work(client.clone()).await;
        goodbye(client).await;
        result.map_err(|error| self.explained(error))
    }
}

/// A path, checked before anything is sent.
fn root(text: &str) -> Result<String, String> {
    match quorate_core::path::Path::parse(text) {
        Ok(path) => Ok(path.to_string()),
        Err(refusal) => Err(refusal.message),
    }
}

/// Ends a session, but does not wait for long.
pub async fn goodbye(client: Client) {
    match tokio::time::timeout(GOODBYE, client.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the session was not closed"),
        Err(_) => tracing::debug!("the session was not closed in time"),
    }
}
