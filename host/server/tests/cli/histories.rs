//! What concurrent clients see while their server is killed and started again under them, checked for linearizability:
//! whatever order of moments explains all answers, there is one.

use std::sync::{Arc, Mutex};

use quorate_client::core::error::ErrorCode;
use quorate_client::{Authority, Client, Error, Options};
use quorate_history::models::{
    Counter, CounterCall, Lock, LockAnswer, LockCall, Queue, QueueAnswer, QueueCall, Znode,
    ZnodeAnswer, ZnodeCall,
};
use quorate_history::{Budget, History, Model, Verdict, check};
use tokio::sync::watch;

use crate::harness::{Home, Server};

const CLIENTS: u64 = 6;
/// Rounds of one client; a round is one or two operations.
const ROUNDS: usize = 60;
const KILLS: usize = 3;

/// A history that many clients write.
struct Record<M: Model>(Mutex<History<M::Input, M::Output>>);

impl<M: Model> Record<M> {
    fn new() -> Self {
        Self(Mutex::new(History::new()))
    }

    /// Records an operation around its execution. One whose outcome is not known stays open; one that was refused unexecuted
    /// leaves the history.
    async fn around(
        &self,
        input: M::Input,
        run: impl Future<Output = Result<M::Output, Error>>,
    ) -> Result<M::Output, Error> {
        let ticket = self.0.lock().expect("no panic").call(input);
        let result = run.await;
        let mut history = self.0.lock().expect("no panic");
        match &result {
            Ok(output) => history.returned(ticket, output.clone()),
            Err(error) if !error.may_have_happened() => history.refused(&ticket),
            Err(_) => {}
        }
        result
    }

    fn assert_linearizable(&self, what: &str, model: &M) {
        let history = self.0.lock().expect("no panic");
        match check(model, &history, Budget::default()) {
            Verdict::Linearizable(_) => {}
            Verdict::NotLinearizable(stuck) => panic!("{what}: {stuck}"),
            Verdict::GaveUp => panic!("{what}: the search is too large"),
        }
    }
}

struct Records {
    znode: Record<Znode>,
    counter: Record<Counter>,
    lock: Record<Lock>,
    queue: Record<Queue>,
}

/// A small generator: the same operations in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The number in `ok(7)`, `ok({token: 7, ...})` and the like.
fn number(text: &str) -> u64 {
    let digits = text.chars().skip_while(|c| !c.is_ascii_digit());
    let digits: String = digits.take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number in {text}"))
}

async fn znode(client: &Client, call: &ZnodeCall) -> Result<ZnodeAnswer, Error> {
    let result = match call {
        ZnodeCall::Create(data) => client
            .create("/object")
            .data(data.to_string())
            .await
            .map(|created| ZnodeAnswer::Done(Some(created.stat.version))),
        ZnodeCall::Set(data, version) => client
            .set("/object", data.to_string(), *version)
            .await
            .map(|stat| ZnodeAnswer::Done(Some(stat.version))),
        ZnodeCall::Delete(version) => {
            client.delete("/object", *version).await.map(|_| ZnodeAnswer::Done(None))
        }
        ZnodeCall::Get => client.get("/object").await.map(|node| {
            let data = std::str::from_utf8(&node.data).expect("digits").parse().expect("digits");
            ZnodeAnswer::Is(data, node.stat.version)
        }),
    };
    match result.as_ref().map_err(Error::code) {
        Err(ErrorCode::NoNode) => Ok(ZnodeAnswer::NoNode),
        Err(ErrorCode::NodeExists) => Ok(ZnodeAnswer::Exists),
        Err(ErrorCode::BadVersion) => Ok(ZnodeAnswer::BadVersion),
        _ => result,
    }
}

/// Calls a recipe, again while a server that has just started has not loaded its code: such a call was not executed.
async fn call(client: &Client, recipe: &str, text: &str) -> Result<String, Error> {
    loop {
        match client.recipe(recipe).call_wave(text).await {
            Err(error) if error.code() == ErrorCode::Compiling => tokio::task::yield_now().await,
            result => return result,
        }
    }
}

async fn counter(client: &Client, asked: CounterCall) -> Result<i64, Error> {
    let text = match asked {
        CounterCall::Add(by) => call(client, "counter", &format!("add(\"/c\", {by})")).await?,
        CounterCall::Get => call(client, "counter", "get(\"/c\")").await?,
    };
    Ok(i64::try_from(number(&text)).expect("a small sum"))
}

async fn lock(client: &Client, asked: &LockCall) -> Result<LockAnswer, Error> {
    let text = match asked {
        LockCall::Acquire => "acquire(\"/l\", {note: none, timeout-ms: none})".to_owned(),
        LockCall::TryAcquire => "acquire(\"/l\", {note: none, timeout-ms: some(0)})".to_owned(),
        LockCall::Release(token) => format!("release(\"/l\", {token})"),
    };
    let text = call(client, "lock", &text).await?;
    Ok(match asked {
        _ if text.contains("timed-out") => LockAnswer::Held,
        _ if text.contains("not-held") => LockAnswer::NotHeld,
        LockCall::Release(_) => LockAnswer::Released,
        _ => LockAnswer::Granted(number(&text)),
    })
}

async fn queue(client: &Client, asked: &QueueCall) -> Result<QueueAnswer, Error> {
    Ok(match asked {
        QueueCall::Offer(item) => {
            call(client, "queue", &format!("offer(\"/q\", \"{item}\")")).await?;
            QueueAnswer::Offered
        }
        QueueCall::Length => {
            let text = call(client, "queue", "length(\"/q\")").await?;
            QueueAnswer::Length(usize::try_from(number(&text)).expect("few"))
        }
        QueueCall::TryTake | QueueCall::Take => {
            let text = call(client, "queue", "try-take(\"/q\")").await?;
            match text.split_once("payload:") {
                Some((_, payload)) => QueueAnswer::Item(number(payload)),
                None => QueueAnswer::Empty,
            }
        }
    })
}

/// One operation, or two that belong together.
async fn round(client: &Client, records: &Records, dice: &mut Dice) -> Result<(), Error> {
    let value = dice.throw(1 << 40);
    match dice.throw(12) {
        kind @ 0..=4 => {
            let version = (dice.throw(2) == 0).then(|| dice.throw(4));
            let call = match kind {
                0 => ZnodeCall::Create(value),
                1 | 2 => ZnodeCall::Set(value, version),
                3 => ZnodeCall::Get,
                _ => ZnodeCall::Delete(version),
            };
            records.znode.around(call.clone(), znode(client, &call)).await?;
        }
        5 | 6 => {
            let call = CounterCall::Add(1);
            records.counter.around(call, counter(client, call)).await?;
        }
        7 => {
            records.counter.around(CounterCall::Get, counter(client, CounterCall::Get)).await?;
        }
        kind @ 8..=9 => {
            let call = if kind == 8 { LockCall::Acquire } else { LockCall::TryAcquire };
            let answer = records.lock.around(call.clone(), lock(client, &call)).await?;
            if let LockAnswer::Granted(token) = answer {
                let call = LockCall::Release(token);
                records.lock.around(call.clone(), lock(client, &call)).await?;
            }
        }
        10 => {
            let call = QueueCall::Offer(value);
            records.queue.around(call.clone(), queue(client, &call)).await?;
        }
        _ => {
            let kinds = [QueueCall::TryTake, QueueCall::TryTake, QueueCall::Length];
            let call = kinds[usize::try_from(dice.throw(3)).expect("small")].clone();
            records.queue.around(call.clone(), queue(client, &call)).await?;
        }
    }
    Ok(())
}

async fn client(
    server: (String, std::path::PathBuf),
    seed: u64,
    records: Arc<Records>,
    progress: watch::Sender<usize>,
) -> Result<(), String> {
    let options = Options::new([server.0], Authority::File(server.1));
    let client = Client::connect(options).await.map_err(|error| error.to_string())?;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (seed << 17) ^ seed);
    for _ in 0..ROUNDS {
        round(&client, &records, &mut dice).await.map_err(|error| error.to_string())?;
        progress.send_modify(|rounds| *rounds += 1);
    }
    client.close().await.map_err(|error| error.to_string())
}

async fn play(home: &Home, server: Server, records: &Arc<Records>) -> Server {
    let address = server.address().to_owned();
    let (sender, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let server = (address.clone(), server.ca());
            tokio::spawn(client(server, seed, Arc::clone(records), sender.clone()))
        })
        .collect();
    drop(sender);
    let data = home.path().join("data");
    let data = data.to_str().expect("UTF-8").to_owned();
    let mut server = server;
    for kill in 1..=KILLS {
        let rounds = kill * usize::try_from(CLIENTS).expect("few") * ROUNDS / (KILLS + 1);
        progress.wait_for(|done| *done >= rounds).await.expect("the clients go on");
        server.kill();
        server = home.server(&["dev", "--data", &data, "--listen", &address, "--output", "json"]);
    }
    for client in clients {
        client.await.expect("no panic").expect("its session outlives its server");
    }
    server
}

#[test]
fn what_concurrent_clients_see_is_linearizable_through_kills_of_their_server() {
    let home = Home::new();
    let records = Arc::new(Records {
        znode: Record::new(),
        counter: Record::new(),
        lock: Record::new(),
        queue: Record::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let _server = runtime.expect("a runtime").block_on(play(&home, home.dev(), &records));
    records.znode.assert_linearizable("znode", &Znode);
    records.counter.assert_linearizable("counter", &Counter);
    records.lock.assert_linearizable("lock", &Lock);
    records.queue.assert_linearizable("queue", &Queue);
}
