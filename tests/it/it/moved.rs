//! A member that comes back at another address: the cluster learns where it is, whoever leads by then.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use quorate_client::admin::{self, ClusterStatus, Command, Outcome};
use quorate_client::{Authority, Options as ClientOptions};
use quorate_gateway::member::{Member, Options};
use quorate_net::issue;
use tokio::time::{interval, timeout};

/// Elections, and names that are told once a second.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Directories of one cluster's members, and its authority.
struct Place(tempfile::TempDir);

impl Place {
    fn authority(&self) -> PathBuf {
        self.0.path().join("authority")
    }

    /// On any free port, which is another one each time.
    async fn start(&self, member: u64) -> Result<Member> {
        let root: &Path = self.0.path();
        let certificates = root.join(format!("certificates-{member}"));
        if !certificates.exists() {
            let now = SystemTime::now();
            issue::member(&certificates, &self.authority(), member, &[], now)?;
        }
        let mut options = Options::new(root.join(member.to_string()), "127.0.0.1:0".parse()?);
        options.member = Some(member);
        options.certificates = Some(certificates);
        Ok(Member::start(options).await?)
    }

    async fn give(&self, member: &Member, command: Command) -> Result<Outcome> {
        let authority = Authority::File(self.authority().join(issue::AUTHORITY_FILE));
        let options = ClientOptions::new([member.address().to_string()], authority);
        Ok(admin::command(options, command).await?)
    }

    /// Returns when the status that this member gives is as it should be.
    async fn wait(&self, member: &Member, is_so: impl Fn(&ClusterStatus) -> bool) -> Result<()> {
        let mut last = None;
        let looked = async {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                match self.give(member, Command::Status).await? {
                    Outcome::Status(status) if is_so(&status) => return Ok(()),
                    outcome => last = Some(outcome),
                }
            }
        };
        match timeout(PATIENCE, looked).await {
            Ok(looked) => looked,
            Err(_) => bail!("not within {PATIENCE:?}: {last:#?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moves_while_the_leadership_moves_is_found_again() -> Result<()> {
    let place = Place(tempfile::tempdir()?);
    issue::authority(&place.authority(), None, SystemTime::now())?;
    let (first, second) = (place.start(1).await?, place.start(2).await?);
    let third = place.start(3).await?;
    let members = [&first, &second, &third];
    let members = members.map(|member| (member.number(), member.address().to_string())).to_vec();
    place.give(&first, Command::Initialize { members }).await?;
    place.wait(&first, |status| status.leader.is_some()).await?;
    place.give(&first, Command::TransferLeader { to: 1 }).await?;
    // The third one must have heard of this leader, and remembers it.
    place.wait(&third, |status| status.leader == Some(1)).await?;
    let before = third.address();
    third.shutdown().await;

    place.give(&first, Command::TransferLeader { to: 2 }).await?;
    place.wait(&first, |status| status.leader == Some(2)).await?;
    let third = place.start(3).await?;
    assert_ne!(third.address(), before);
    let address = third.address().to_string();
    let is_found = |status: &ClusterStatus| {
        let line = status.members.iter().find(|line| line.member == 3);
        line.is_some_and(|line| line.address == address && line.status.is_ok())
    };
    place.wait(&first, is_found).await.context("seen from member 1")?;
    place.wait(&third, |status| status.leader == Some(2)).await.context("seen from member 3")?;
    for member in [first, second, third] {
        member.shutdown().await;
    }
    Ok(())
}
