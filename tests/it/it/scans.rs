//! Scans that a client takes from a member that goes on serving.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use quorate_client::core::error::ErrorCode;
use quorate_client::{Authority, Client, Error, Options, Scan, Scanned, SessionState};
use quorate_gateway::member::{Member, Options as MemberOptions};

use crate::client::{connect, soon};
use crate::proxy::Proxy;
use crate::raw::Rig;

const NODES: usize = 100;
/// Together far more than a stream's window: what is not read stays with the member.
const NODE_BYTES: usize = 100_000;

async fn grow(client: &Client) -> Result<()> {
    client.create("/s").await?;
    for at in 0..NODES {
        client.create(&format!("/s/n{at:04}")).data(vec![7; NODE_BYTES]).await?;
    }
    client.create("/s/n0050/below").await?;
    Ok(())
}

/// Reads on, to the end or to where it broke off. Whether it was the end.
async fn read(scan: &mut Scan, found: &mut Vec<Scanned>) -> Result<bool> {
    loop {
        match soon(scan.next()).await? {
            Ok(Some(next)) => found.push(next),
            Ok(None) => return Ok(true),
            Err(broken) => {
                assert_eq!(broken.last, found.last().map(|last| last.path.clone()));
                return Ok(false);
            }
        }
    }
}

async fn all(scan: &mut Scan) -> Result<Vec<Scanned>> {
    let mut found = Vec::new();
    assert!(read(scan, &mut found).await?, "it broke off");
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_shows_one_state_whatever_is_written_meanwhile() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    grow(&client).await?;
    let before = client.create("/aside").await?.zxid;
    let mut scan = soon(client.scan("/s").into_future()).await??;
    assert_eq!(scan.zxid(), before);
    // It is not read, and fills its window; the session is served all the same.
    for at in (0..NODES).filter(|at| *at != 50) {
        let path = format!("/s/n{at:04}");
        match at % 3 {
            0 => drop(soon(client.set(&path, "other", None)).await??),
            1 => drop(soon(client.delete(&path, None)).await??),
            _ => drop(soon(client.create(&format!("{path}/new")).into_future()).await??),
        }
    }
    let mut later = soon(client.scan("/s").into_future()).await??;
    let refused = soon(client.scan("/s").into_future()).await?.err();
    let Some(Error::Refused(failure)) = refused else { bail!("a third one at the same time") };
    assert_eq!(failure.refusal.code, ErrorCode::Overloaded);

    let found = all(&mut scan).await?;
    let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
    let mut expected = vec!["/s".to_owned()];
    for at in 0..NODES {
        expected.push(format!("/s/n{at:04}"));
        expected.extend((at == 50).then(|| "/s/n0050/below".to_owned()));
    }
    assert_eq!(paths, expected);
    for found in found.iter().filter(|found| found.path.name().starts_with('n')) {
        assert_eq!(found.data.as_ref().map(|data| data.len()), Some(NODE_BYTES), "{}", found.path);
        assert_eq!((found.stat.version, found.stat.mzxid <= before), (0, true));
    }

    // 33 were deleted, and 32 have got a child.
    assert_eq!(all(&mut later).await?.len(), NODES + 1);
    drop((scan, later));
    let mut names = soon(client.scan("/s").without_data().into_future()).await??;
    let names = all(&mut names).await?;
    assert!(names.len() == NODES + 1 && names.iter().all(|found| found.data.is_none()));
    client.close().await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_breaks_off_says_so_and_another_goes_on_behind_it() -> Result<()> {
    let proxy = Proxy::start().await?;
    let directory = tempfile::tempdir()?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = MemberOptions::new(directory.path().join("data"), listen);
    options.advertise = vec![proxy.address.to_string()];
    let rig = Rig { directory, member: Some(Member::start(options).await?) };
    proxy.lead_to(rig.address());
    let authority = Authority::Pem(std::fs::read(rig.authority())?);
    let mut options = Options::new([proxy.address.to_string()], authority);
    options.session_timeout = Some(Duration::from_secs(10));
    let client = Client::connect(options).await?;
    grow(&client).await?;

    let mut scan = soon(client.scan("/s").into_future()).await??;
    let mut found: Vec<Scanned> = soon(scan.next()).await??.into_iter().collect();
    proxy.cut(true);
    let mut state = client.state();
    soon(state.wait_for(|state| *state == SessionState::Suspended)).await??;
    assert!(!read(&mut scan, &mut found).await?, "it broke off");
    assert!(found.len() < NODES, "in the middle, after {}", found.len());
    drop(scan);
    proxy.cut(false);

    let last = found.last().map_or("/s", |last| last.path.as_str());
    let mut scan = soon(client.scan("/s").after(last).into_future()).await??;
    found.append(&mut all(&mut scan).await?);
    assert_eq!(found.len(), NODES + 2);
    drop(scan);

    for (path, after, code) in [
        ("/none", None, ErrorCode::NoNode),
        ("no path", None, ErrorCode::BadPath),
        ("/s", Some("/t"), ErrorCode::BadArguments),
        ("/s", Some("/s/"), ErrorCode::BadPath),
    ] {
        let asked = client.scan(path);
        let asked = after.map_or(asked, |after| client.scan(path).after(after));
        let refused = soon(asked.into_future()).await?.err();
        assert_eq!(refused.map(|error| error.code()), Some(code), "{path} {after:?}");
    }
    client.close().await?;
    rig.stop().await;
    Ok(())
}
