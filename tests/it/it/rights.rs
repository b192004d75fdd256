//! What a client is told, shown and permitted on a real member when it has no right to all of it: every way to read, watch and
//! command. Which right is asked for what is tested row by row in the core and in the gateway; here that it is asked at all.

use std::future::IntoFuture;

use anyhow::{Context, Result, bail};
use quorate_client::admin::{self, AdminError, Command};
use quorate_client::core::access::{Acl, AclEntry, Identity, Object, Permissions, Rule};
use quorate_client::core::error::ErrorCode;
use quorate_client::core::ids::Zxid;
use quorate_client::core::query::Page;
use quorate_client::core::quota::Quota;
use quorate_client::{Client, Credential, Error, Notice, Options, Query, WatchStream};

use crate::authentication::{HOUR, authority, options, token_for};
use crate::client::soon;
use crate::raw::Rig;

fn options_of(rig: &Rig, name: &str) -> Result<Options> {
    let mut options = options(rig);
    options.credentials.push(Credential::Token(token_for(&authority(rig), name, HOUR)?));
    Ok(options)
}

async fn client(rig: &Rig, name: &str) -> Result<Client> {
    Ok(Client::connect(options_of(rig, name)?).await?)
}

fn acl(line: &str) -> Result<Acl> {
    Ok(Acl { entries: vec![AclEntry::parse(line)?] })
}

async fn grant(ops: &Client, object: Object, who: &str, permissions: Permissions) -> Result<()> {
    let rule = Rule { who: Identity::parse(who)?, function: None, permissions };
    ops.grant(object, rule).await?;
    Ok(())
}

/// A member whose cluster is looked after by `token:ops` alone, with its client, and one of `token:alice`.
async fn ruled() -> Result<(Rig, Client, Client)> {
    let rig = Rig::start().await?;
    let ops = client(&rig, "ops").await?;
    let on_cluster = Permissions::ADMIN.with(Permissions::OPERATE);
    grant(&ops, Object::Cluster, "token:ops", on_cluster).await?;
    grant(&ops, Object::EveryRecipe, "token:ops", Permissions::DEPLOY).await?;
    let alice = client(&rig, "alice").await?;
    Ok((rig, ops, alice))
}

fn code<T>(refused: Result<T, Error>) -> Result<ErrorCode> {
    match refused {
        Err(error) => Ok(error.code()),
        Ok(_) => bail!("it is permitted"),
    }
}

/// What a watch tells up to an event of this path.
async fn told_upto(stream: &mut WatchStream, last: &str) -> Result<Vec<String>> {
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some(last) {
        match soon(stream.next()).await?.context("it has ended")?? {
            Notice::Change(change) => told.extend(change.events.into_iter().map(|one| one.path)),
            _ => continue,
        }
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_may_not_read_no_way_of_reading_shows() -> Result<()> {
    let (rig, ops, alice) = ruled().await?;
    for path in ["/app", "/app/open"] {
        ops.create(path).await?;
    }
    let mut live = soon(alice.watch("/app").subtree().with_data().with_previous().open()).await??;
    let secret = || acl("token:ops:cdrwa");
    ops.create("/app/secret").data("secret").acl(secret()?).await?;
    ops.create("/app/secret/below").await?;
    ops.create("/app/mine").ephemeral().acl(secret()?).await?;
    ops.create("/app/ours").ephemeral().await?;
    ops.set("/app/secret", "more of it", None).await?;
    ops.delete("/app/mine", None).await?;
    ops.create("/app/mine").ephemeral().acl(secret()?).await?;
    let last = ops.set("/app/open", "x", None).await?.mzxid;

    // Live, and from the past; `below` has no list of its own, and there are no rules.
    let told = ["/app/secret/below", "/app/ours", "/app/open"];
    assert_eq!(told_upto(&mut live, "/app/open").await?, told);
    let mut past = soon(alice.watch("/app").subtree().from(Zxid(0)).open()).await??;
    let first = ["/app", "/app/open"];
    assert_eq!(told_upto(&mut past, "/app/open").await?, first);
    assert_eq!(told_upto(&mut past, "/app/open").await?, told);

    // A watch of it is open, and silent; one with a first read is refused.
    soon(alice.watch("/app/secret").open()).await??;
    let refused = soon(alice.watch("/app/secret").open_with_node("/app/secret")).await?;
    assert_eq!(refused.err().context("it is open")?.code(), ErrorCode::NoAccess);
    let refused = soon(alice.watch("/app").open_with_children("/app", Page::first())).await?;
    assert_eq!(refused.err().context("it is open")?.code(), ErrorCode::NoAccess);

    let mut scan = soon(alice.scan("/app").into_future()).await??;
    let mut scanned = Vec::new();
    while let Some(found) = soon(scan.next()).await?? {
        scanned.push(found.path.to_string());
    }
    assert_eq!(scanned, ["/app", "/app/open", "/app/ours", "/app/secret/below"]);
    let refused = soon(alice.scan("/app/secret").into_future()).await?;
    assert_eq!(code(refused)?, ErrorCode::NoAccess);

    assert_eq!(alice.subtree("/app").await?.znodes, 6, "how much there is is no secret");
    assert_eq!(code(alice.subtree("/app/secret").await)?, ErrorCode::NoAccess);
    let owned = alice.ephemerals_page(Some(ops.session().id), "/", None).await?;
    assert_eq!((owned.children, owned.has_more), (vec!["/app/ours".to_owned()], false));
    let get = |path: &str| Query::Get(path.to_owned());
    let (zxid, many) = alice.read_many(vec![get("/app/open"), get("/app/secret")]).await?;
    assert!(zxid >= last && many[0].is_ok());
    let refusal = many[1].as_ref().err().context("it was read")?;
    assert_eq!(refusal.code, ErrorCode::NoAccess);

    // Rules that change hold for what is watched already, and for the past.
    let all = Permissions::ALL_OF_ZNODE;
    grant(&ops, Object::parse("/app")?, "token:ops", all).await?;
    ops.set("/app/open", "unseen", None).await?;
    ops.create("/app/seen").acl(acl("world:anyone:r")?).await?;
    assert_eq!(told_upto(&mut live, "/app/seen").await?, ["/app/seen"]);
    let mut past = soon(alice.watch("/app").subtree().from(Zxid(0)).open()).await??;
    assert_eq!(told_upto(&mut past, "/app/seen").await?, ["/app/seen"]);
    let refused = soon(alice.scan("/app").into_future()).await?;
    assert_eq!(code(refused)?, ErrorCode::NoAccess);
    rig.stop().await;
    Ok(())
}

/// Commands that change the members; all there are.
fn commands() -> Vec<Command> {
    let all = vec![
        Command::Add { member: 2, address: "member.invalid:1".to_owned() },
        Command::Promote { member: 2 },
        Command::Remove { member: 1 },
        Command::TransferLeader { to: 1 },
        Command::Update {
            member: 1,
            address: "member.invalid:1".to_owned(),
            incarnation: [0; 16],
            clients: Vec::new(),
        },
        Command::Status,
        Command::Initialize { members: vec![(1, "member.invalid:1".to_owned())] },
    ];
    // One more needs a line above.
    for command in &all {
        match command {
            Command::Add { .. }
            | Command::Promote { .. }
            | Command::Remove { .. }
            | Command::TransferLeader { .. }
            | Command::Update { .. }
            | Command::Status
            | Command::Initialize { .. } => {}
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_operate_the_cluster_is_refused_each_command_to_it() -> Result<()> {
    let (rig, ops, alice) = ruled().await?;
    for command in commands() {
        let done = admin::command(options_of(&rig, "alice")?, command.clone()).await;
        match (&command, done) {
            (Command::Status, done) => drop(done?),
            // It belongs to a cluster: whoever asks.
            (Command::Initialize { .. }, Err(AdminError::Refused(refusal))) => {
                assert_eq!(refusal.code, ErrorCode::ChangeRefused, "{refusal}");
            }
            (_, Err(AdminError::Refused(refusal))) => {
                assert_eq!(refusal.code, ErrorCode::NoAccess, "{command:?}: {refusal}");
            }
            (_, done) => bail!("{command:?}: {done:?}"),
        }
    }
    // Who may is told what is wrong with it.
    let promoted = admin::command(options_of(&rig, "ops")?, Command::Promote { member: 2 }).await;
    let Err(AdminError::Refused(refusal)) = promoted else { bail!("{promoted:?}") };
    assert_eq!(refusal.code, ErrorCode::ChangeRefused, "{refusal}");

    assert_eq!(code(alice.snapshot(None).await)?, ErrorCode::NoAccess);
    ops.snapshot(None).await?;
    let quota = Some(Quota::default());
    assert_eq!(code(alice.set_quota("/app", quota).await)?, ErrorCode::NoAccess);
    ops.set_quota("/app", quota).await?;
    let component = b"no component".to_vec();
    assert_eq!(code(alice.upload(component.clone(), |_| ()).await)?, ErrorCode::NoAccess);
    ops.upload(component, |_| ()).await?;
    assert_eq!(code(alice.rollback("lock", 1).await)?, ErrorCode::NoAccess);
    assert_eq!(code(alice.remove_recipe("lock").await)?, ErrorCode::NoAccess);
    assert_eq!(code(alice.logs("lock", 1).await)?, ErrorCode::NoAccess);
    assert_eq!(code(ops.remove_recipe("lock").await)?, ErrorCode::NoRecipe);
    assert_eq!(code(alice.rules().await)?, ErrorCode::NoAccess);
    let itself = Rule {
        who: Identity::parse("token:alice")?,
        function: None,
        permissions: Permissions::ADMIN,
    };
    assert_eq!(code(alice.grant(Object::Cluster, itself).await)?, ErrorCode::NoAccess);
    rig.stop().await;
    Ok(())
}
