//! Who clients are: what they show makes their session somebody, once, in the order of its writes, and for as long as it holds; and
//! what they show is kept nowhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_client::admin::{self, AdminError, Command};
use quorate_client::core::error::ErrorCode;
use quorate_client::core::ids::WriteNumber;
use quorate_client::core::request::Reply;
use quorate_client::core::session::Acks;
use quorate_client::{
    Authority, Certificate, Client, ConnectError, Credential, Error, Options, Whoami,
};
use quorate_gateway::authentication::Anonymous;
use quorate_gateway::member::{Member, Options as MemberOptions};
use quorate_net::{ClientCertificates, Token, issue, token};
use quorate_wire::message::credential::Credential as Shown;
use quorate_wire::message::{Attach, ClientMessage, ServerMessage, body};

use crate::raw::{ANY_PORT, PATIENCE, Raw, Rig, create};

const PASSWORD: &str = "correct horse battery staple";
/// SHA-1 of `ann:` and the password, as ZooKeeper writes it.
const DIGEST: &str = "digest:ann:x+L4EihwQJnnn+F1+VlPm5MJ/vE=";

async fn start(change: impl FnOnce(&mut MemberOptions, &Path)) -> Result<Rig> {
    let directory = tempfile::tempdir()?;
    let mut options = MemberOptions::new(directory.path().join("data"), ANY_PORT);
    change(&mut options, directory.path());
    let member = Some(Member::start(options).await?);
    Ok(Rig { directory, member })
}

/// The directory of the member's own authority.
pub fn authority(rig: &Rig) -> PathBuf {
    rig.directory.path().join("data/certificates")
}

pub fn options(rig: &Rig) -> Options {
    Options::new([rig.address().to_string()], Authority::File(rig.authority()))
}

fn certificate(rig: &Rig, authority: &Path, name: &str) -> Result<Certificate> {
    let out = rig.directory.path().join(format!("of {name}"));
    let valid = Duration::from_secs(3600);
    issue::client(&out, authority, name, valid, SystemTime::now())?;
    Ok(Certificate {
        certificate: out.join(issue::CLIENT_FILE),
        key: out.join(issue::CLIENT_KEY_FILE),
    })
}

pub fn token_for(authority: &Path, name: &str, valid: Duration) -> Result<String> {
    let not_before = SystemTime::now();
    let (name, expires) = (name.to_owned(), not_before + valid);
    Ok(token::issue(authority, &Token { name, not_before, expires, audience: None })?)
}

pub const HOUR: Duration = Duration::from_secs(3600);

fn password() -> Credential {
    Credential::Password { user: "ann".to_owned(), password: PASSWORD.to_owned() }
}

fn texts(whoami: &Whoami) -> Vec<String> {
    whoami.identities.iter().map(|held| held.identity.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_as_whom_its_client_shows_and_becomes_somebody_more_later() -> Result<()> {
    let rig = Rig::start().await?;
    let nobody = Client::connect(options(&rig)).await?.whoami().await?;
    assert_eq!((nobody.principal.as_str(), nobody.identities.len()), ("", 0));
    assert_eq!(nobody.address, Some(rig.address().ip()));

    let mut options = options(&rig);
    options.certificate = Some(certificate(&rig, &authority(&rig), "ann")?);
    options.credentials.push(Credential::Token(token_for(&authority(&rig), "ci", HOUR)?));
    let client = Client::connect(options).await?;
    let known = client.whoami().await?;
    assert_eq!(texts(&known), ["x509:CN=ann", "token:ci"]);
    assert_eq!(known.principal, "x509:CN=ann");
    assert!(known.identities[1].expires.is_some() && known.identities[0].expires.is_none());

    client.authenticate(&password()).await?;
    let known = client.whoami().await?;
    assert_eq!(texts(&known), [DIGEST, "x509:CN=ann", "token:ci"]);
    assert_eq!(known.principal, "x509:CN=ann", "chosen when the session was opened");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_gone_on_with_keeps_who_it_was_and_a_new_certificate_adds_nothing()
-> Result<()> {
    let mut rig = Rig::start().await?;
    let mut as_ann = options(&rig);
    as_ann.certificate = Some(certificate(&rig, &authority(&rig), "ann")?);
    let client = Client::connect(as_ann).await?;
    client.authenticate(&password()).await?;
    let key = client.session();
    drop(client);
    rig.restart().await?;

    let mut as_bob = options(&rig);
    as_bob.certificate = Some(certificate(&rig, &authority(&rig), "bob")?);
    as_bob.credentials.push(Credential::Token(token_for(&authority(&rig), "ci", HOUR)?));
    let resumed = Client::resume(as_bob, key).await?;
    assert_eq!(texts(&resumed.whoami().await?), [DIGEST, "x509:CN=ann"]);
    let anew = resumed.reopen().await?;
    assert_eq!(texts(&anew.whoami().await?), ["x509:CN=bob", "token:ci"]);
    rig.stop().await;
    Ok(())
}

/// Sends a credential under this number; what comes of it.
async fn show(raw: &mut Raw, write: u64, credential: &Shown) -> Result<ServerMessage> {
    let (request, acks) = (1_000 + write, Acks::default());
    let body = body::encode_credential(credential);
    let write = WriteNumber(write);
    raw.send(&ClientMessage::Write { request, write, acks, body }).await?;
    raw.answer(request).await
}

fn password_of(user: &str) -> Shown {
    Shown::Password { user: user.to_owned(), password: PASSWORD.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_takes_effect_once_in_order_and_is_answered_again_when_sent_again()
-> Result<()> {
    let rig = Rig::start().await?;
    let mut one = rig.client().await?;
    one.done(&create("/a", "")).await?;
    let ServerMessage::Reply { zxid, reply, .. } = show(&mut one, 2, &password_of("ann")).await?
    else {
        bail!("no reply")
    };
    assert!(matches!(Reply::decode(reply.clone())?, Reply::Done(_)));
    let session = one.session();
    let resume =
        |sent| Attach::Resume { session, secret: one.welcome.secret, sent: WriteNumber(sent) };

    let mut two = Raw::connect(&rig, resume(2)).await?;
    match show(&mut two, 2, &password_of("ann")).await? {
        ServerMessage::Reply { zxid: again, reply: kept, .. } => {
            assert_eq!((again, kept), (zxid, reply), "it was executed once");
        }
        other => bail!("{other:?}"),
    }
    match show(&mut two, 2, &password_of("bob")).await? {
        ServerMessage::NotExecuted { refusal, .. } => {
            assert_eq!(refusal.code, ErrorCode::ResendDiffers);
        }
        other => bail!("{other:?}"),
    }
    // What is not accepted is executed, too, as a refusal: the writes behind it go on.
    match show(&mut two, 3, &Shown::Token("nonsense".to_owned())).await? {
        ServerMessage::Reply { reply, .. } => match Reply::decode(reply)? {
            Reply::Refused(failure) => {
                assert_eq!(failure.refusal.code, ErrorCode::AuthenticationFailed);
            }
            done @ Reply::Done(_) => bail!("{done:?}"),
        },
        other => bail!("{other:?}"),
    }
    let mut three = Raw::connect(&rig, resume(3)).await?;
    three.done(&create("/b", "")).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_who_it_is_without_showing_it_breaks_the_protocol() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client().await?;
    // What a member would tell its leader: an identity, `super:`, without an end.
    let body = Bytes::from_static(&[0x80, 0, 6, 0, 0]);
    assert!(body::decode_from_member(body.clone()).is_ok(), "the bytes are what they are to be");
    let (request, write, acks) = (1, WriteNumber(1), Acks::default());
    client.send(&ClientMessage::Write { request, write, acks, body }).await?;
    let told = client.receive().await?;
    assert!(
        matches!(told, ServerMessage::Goodbye(ref refusal) if refusal.code == ErrorCode::BadMessage),
        "{told:?}"
    );
    let secret = Attach::New { timeout_ms: 0, credentials: vec![Shown::House([0; 32])] };
    let refused = Raw::connect(&rig, secret).await.err().context("it is not the secret")?;
    assert!(refused.to_string().contains("AuthenticationFailed"), "{refused}");
    rig.stop().await;
    Ok(())
}

fn code(refused: Result<Client, ConnectError>) -> Result<ErrorCode> {
    match refused {
        Err(ConnectError::Rejected { refusal, .. }) => Ok(refusal.code),
        other => bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_anonymous_is_served_who_shows_nothing_is_told_what_to_do() -> Result<()> {
    let rig = start(|options, _| options.auth.anonymous = Anonymous::Refused).await?;
    let command = |options| admin::command(options, Command::Status);
    assert_eq!(code(Client::connect(options(&rig)).await)?, ErrorCode::AuthenticationRequired);
    let refused = command(options(&rig)).await;
    assert!(
        matches!(&refused, Err(AdminError::Refused(refusal)) if refusal.code == ErrorCode::AuthenticationRequired),
        "{refused:?}"
    );
    let mut with_password = options(&rig);
    with_password.credentials.push(password());
    assert_eq!(code(Client::connect(with_password).await)?, ErrorCode::AuthenticationRequired);

    let mut with_token = options(&rig);
    with_token.credentials.push(Credential::Token(token_for(&authority(&rig), "ci", HOUR)?));
    assert_eq!(texts(&Client::connect(with_token.clone()).await?.whoami().await?), ["token:ci"]);
    command(with_token).await?;
    let mut with_certificate = options(&rig);
    with_certificate.certificate = Some(certificate(&rig, &authority(&rig), "ann")?);
    Client::connect(with_certificate.clone()).await?;
    command(with_certificate).await?;
    let mut of_the_house = options(&rig);
    let house = rig.member.as_ref().context("it runs")?.house_credential();
    of_the_house.credentials.push(Credential::AsSent(house));
    assert_eq!(texts(&Client::connect(of_the_house).await?.whoami().await?), ["super:"]);
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_tokens_have_expired_is_not_gone_on_with_where_nobody_anonymous_is_served()
-> Result<()> {
    let rig = start(|options, _| options.auth.anonymous = Anonymous::Refused).await?;
    let mut brief = options(&rig);
    let token = token_for(&authority(&rig), "ci", Duration::from_secs(2))?;
    brief.credentials.push(Credential::Token(token));
    let (first, second) = (Client::connect(brief.clone()).await?, Client::connect(brief).await?);
    second.authenticate(&Credential::Token(token_for(&authority(&rig), "next", HOUR)?)).await?;
    let expires = first.whoami().await?.identities[0].expires.context("a token's")?;
    let expires = UNIX_EPOCH + Duration::from_millis(expires.0);
    while SystemTime::now() < expires {
        first.whoami().await?;
    }
    let refused = Client::resume(options(&rig), first.session()).await;
    assert_eq!(code(refused)?, ErrorCode::AuthenticationRequired);
    let resumed = Client::resume(options(&rig), second.session()).await?;
    assert!(texts(&resumed.whoami().await?).contains(&"token:next".to_owned()));
    rig.stop().await;
    Ok(())
}

fn reasons(refused: Result<Client, ConnectError>) -> Result<String> {
    match refused {
        Err(error @ ConnectError::Unreachable(_)) => Ok(error.to_string()),
        other => bail!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_why_its_certificate_is_not_taken() -> Result<()> {
    let rig = start(|options, directory| {
        let clients = directory.join("clients");
        issue::authority(&clients, None, SystemTime::now()).unwrap();
        options.auth.authority = Some(clients.join(issue::AUTHORITY_FILE));
        options.auth.client_certificates = ClientCertificates::Required;
    })
    .await?;
    let with = |certificate| {
        let mut options = options(&rig);
        options.certificate = certificate;
        options.connect_timeout = Duration::from_secs(1);
        Client::connect(options)
    };
    let why = reasons(with(None).await)?;
    assert!(why.contains("clients show a certificate here, and none was shown"), "{why}");
    let strangers = rig.directory.path().join("strangers");
    issue::authority(&strangers, None, SystemTime::now())?;
    let why = reasons(with(Some(certificate(&rig, &strangers, "stranger")?)).await)?;
    assert!(why.contains("the certificate that was shown is refused there"), "{why}");
    // The members' authority vouches for members, and here for nobody else.
    let why = reasons(with(Some(certificate(&rig, &authority(&rig), "member")?)).await)?;
    assert!(why.contains("not of an authority of clients"), "{why}");
    let clients = rig.directory.path().join("clients");
    let client = with(Some(certificate(&rig, &clients, "ann")?)).await?;
    assert_eq!(texts(&client.whoami().await?), ["x509:CN=ann"]);
    let of_members = Credential::Token(token_for(&authority(&rig), "ci", HOUR)?);
    let refused = client.authenticate(&of_members).await;
    assert!(matches!(&refused, Err(Error::Refused(_))), "{refused:?}");
    client.authenticate(&Credential::Token(token_for(&clients, "ci", HOUR)?)).await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_the_time_of_transactions() -> Result<()> {
    let rig = Rig::start().await?;
    let mut options = options(&rig);
    let brief = token_for(&authority(&rig), "ci", Duration::from_secs(2))?;
    options.credentials.push(Credential::Token(brief.clone()));
    let client = Client::connect(options).await?;
    client.create("/a").await?;
    let began = Instant::now();
    loop {
        client.set("/a", Bytes::new(), None).await?;
        let whoami = client.whoami().await?;
        let held = &whoami.identities[0];
        if !held.is_at(whoami.time) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{whoami:?}");
        tokio::task::yield_now().await;
    }
    let refused = client.authenticate(&Credential::Token(brief)).await.err().context("expired")?;
    assert_eq!(refused.code(), ErrorCode::AuthenticationFailed, "{refused}");
    client.authenticate(&Credential::Token(token_for(&authority(&rig), "ci", HOUR)?)).await?;
    let whoami = client.whoami().await?;
    assert!(whoami.identities.len() == 1 && whoami.identities[0].is_at(whoami.time), "{whoami:?}");
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_shown_is_on_the_disk() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut options = options(&rig);
    let token = token_for(&authority(&rig), "ci", HOUR)?;
    options.credentials = vec![Credential::Token(token.clone()), password()];
    let client = Client::connect(options).await?;
    client.authenticate(&password()).await?;
    client.authenticate(&Credential::Token(token.clone())).await?;
    client.create("/a").await?;
    rig.member.take().context("it runs")?.shutdown().await;
    let (mut files_count, mut has_digest) = (0, false);
    let signature = token.rsplit('.').next().context("a signature")?.to_owned();
    let mut directories = vec![rig.directory.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            files_count += 1;
            let bytes = std::fs::read(&path)?;
            let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!has(PASSWORD) && !has(&signature), "{}", path.display());
            has_digest |= has(DIGEST.strip_prefix("digest:").unwrap_or_default());
        }
    }
    assert!(files_count > 5 && has_digest, "{files_count} files were looked at");
    Ok(())
}
