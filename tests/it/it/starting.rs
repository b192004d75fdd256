//! Before a member serves, and before a connection is one of its own: what is told, and what is left behind.

use anyhow::Result;
use quorate_gateway::member::{Member, Options, StartError};
use quorate_net::{Client, ClientConfig, CloseCode, CloseReason, Protocol, TrustAnchors};

use crate::raw::{Rig, create};

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_leaves_nothing_behind() -> Result<()> {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let started = Member::start(Options::new(data.clone(), taken.local_addr()?)).await;
    assert!(matches!(started.err(), Some(StartError::Bind(_))));
    assert!(!data.exists(), "somebody may look for the member that was to be here");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_speaks_as_a_member_without_a_certificate_is_closed_with_a_code_of_its_own()
-> Result<()> {
    let rig = Rig::start().await?;
    let client = Client::bind(ClientConfig::default())?;
    let trust = TrustAnchors::load(&rig.authority())?;
    // The other side looks at certificates only after this one is through.
    let connection = client.connect(rig.address(), "localhost", &trust, Protocol::Member).await?;
    let closed = connection.closed().await;
    let wanted = u64::from(u32::from(CloseCode::CertificateRequired));
    assert!(matches!(closed, CloseReason::Peer { code, .. } if code == wanted), "{closed}");
    rig.client().await?.done(&create("/a", "")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_log_and_tree_are_gone_does_not_begin_anew() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let options = Options::new(directory.path().join("data"), "127.0.0.1:0".parse()?);
    Member::start(options.clone()).await?.shutdown().await;
    Member::start(options.clone()).await?.shutdown().await;
    for entry in std::fs::read_dir(&options.data)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if name == "log" || name == "tree" || name.starts_with("tree.") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    for _ in 0..2 {
        let refused = Member::start(options.clone()).await.err();
        let refused = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("its log and its tree are gone"), "{refused:?}");
    }
    Ok(())
}
