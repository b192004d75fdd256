//! `quorate serve`: a member by a configuration file. What the keys mean is `config`'s.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::dev::{self, HangUp, client_options, deploy_builtin_when_led, to_end};
use crate::config::Config;
use crate::connect::Global;
use crate::signals::Signals;
use crate::telemetry;

/// `quorate serve`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file is TOML; only `data` must be there, and an unknown key is refused:
  data = \"/var/lib/quorate\"        # directory for all state of this member
  member = 1                       # number in a cluster; absent: a cluster of its own
  address = \"one.example:4747\"    # where other members reach this one; absent: the address listened on
  certificates = \"/etc/quorate\"    # directory of ca.pem, server.pem and server-key.pem; absent: in `data`, made if missing
  listen = \"127.0.0.1:4747\"        # UDP address for clients
  names = []                       # further host names and addresses for the certificate
  advertise = []                   # addresses that clients are told; empty: the one listened on
  cache_mib = 256                  # memory for the tree's cache
  component_mib_max = 4            # the largest component that may be deployed
  disk_reserve_mib = 512           # below that much free disk, writes that make the tree larger are refused
  builtin_recipes = false          # deploy the built-in recipes if they are missing
  log_level = \"info\"               # error, warn, info, debug, trace
  log_format = \"text\"              # text or json
  [audit]                          # the audit log; none without a file
  file = \"\"                        # JSON lines: who did what to which path, from where, with which result
  max_bytes = 67108864             # when it is renamed
  files = 10                       # that are kept
  categories = [\"sessions\"]        # beside administration and refusals: sessions, writes, reads
  on_failure = \"warn\"              # or refuse

Examples:
  quorate serve --config /etc/quorate.toml
  quorate serve --config /etc/quorate.toml --check"
)]
pub struct Serve {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only say whether the file is valid
    #[arg(long)]
    check: bool,
}

impl Serve {
    /// Runs until a signal asks to end; SIGHUP asks to look at the certificates.
    ///
    /// # Errors
    /// If the file is invalid, the member does not start, or can not go on.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let output = global.output();
        if self.check {
            let file = self.config.display().to_string();
            output.show(
                || json!({ "valid": true, "config": file, "data": config.data, "listen": config.listen }),
                |out| writeln!(out, "{file} is valid: data in {}, clients at {}", config.data.display(), config.listen),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        telemetry::start(&config.log_level, config.log_format)?;
        let mut signals = Signals::take()?;
        let member = dev::start(config.options(global.level)).await?;
        tracing::info!(
            address = %member.address(),
            data = %config.data.display(),
            authority = %member.authority_file().display(),
            "serving clients"
        );
        if config.builtin_recipes {
            let deployed = tokio::select! {
                deployed = deploy_builtin_when_led(&member, client_options(&member, global), global.level) => deployed,
                why = member.failed() => Err(dev::failed(&why)),
                () = to_end(&mut signals, &member, HangUp::Renews) => {
                    return Ok(dev::stop(member, &mut signals, output).await);
                }
            };
            if let Err(error) = deployed {
                member.shutdown().await;
                return Err(error);
            }
        }
        dev::serve(member, &mut signals, output, HangUp::Renews).await
    }
}
