//! Operations on one znode and five recipes, recorded as a history, and whether that is linearizable. It does not know what
//! happens to the servers meanwhile.

use std::sync::Mutex;

use quorate_client::core::error::ErrorCode;
use quorate_client::{Client, Error};
use quorate_history::models::{
    Barrier, BarrierAnswer, BarrierCall, Counter, CounterCall, Election, ElectionAnswer,
    ElectionCall, Lock, LockAnswer, LockCall, Queue, QueueAnswer, QueueCall, Znode, ZnodeAnswer,
    ZnodeCall,
};
use quorate_history::{Budget, History, Model, Verdict, check};

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

/// What all clients did, object by object.
pub struct Records {
    znode: Record<Znode>,
    counter: Record<Counter>,
    lock: Record<Lock>,
    queue: Record<Queue>,
    election: Record<Election>,
    barrier: Record<Barrier>,
}

impl Records {
    pub fn new() -> Self {
        Self {
            znode: Record::new(),
            counter: Record::new(),
            lock: Record::new(),
            queue: Record::new(),
            election: Record::new(),
            barrier: Record::new(),
        }
    }

    /// There is an order of moments that explains all answers.
    pub fn assert_linearizable(&self) {
        self.znode.assert_linearizable("znode", &Znode);
        self.counter.assert_linearizable("counter", &Counter);
        self.lock.assert_linearizable("lock", &Lock);
        self.queue.assert_linearizable("queue", &Queue);
        self.election.assert_linearizable("election", &Election);
        self.barrier.assert_linearizable("barrier", &Barrier);
    }
}

/// A small generator: the same operations in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed << 17) ^ seed)
    }

    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The number in `ok(7)`, `ok({token: 7, ...})` and the like.
pub fn number(text: &str) -> u64 {
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
pub async fn call(client: &Client, recipe: &str, text: &str) -> Result<String, Error> {
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

pub async fn lock(client: &Client, asked: &LockCall) -> Result<LockAnswer, Error> {
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

async fn election(client: &Client, asked: &ElectionCall) -> Result<ElectionAnswer, Error> {
    let text = match asked {
        ElectionCall::Campaign => "campaign(\"/el\", \"me\", none)".to_owned(),
        ElectionCall::TryCampaign => "campaign(\"/el\", \"me\", some(0))".to_owned(),
        ElectionCall::Resign(term) => format!("resign(\"/el\", {term})"),
        ElectionCall::Leader => "leader(\"/el\")".to_owned(),
    };
    let text = call(client, "election", &text).await?;
    Ok(match asked {
        ElectionCall::Leader if text.contains("none") => ElectionAnswer::Leads(None),
        ElectionCall::Leader => ElectionAnswer::Leads(Some(number(&text))),
        _ if text.contains("timed-out") => ElectionAnswer::Led,
        _ if text.contains("not-leading") => ElectionAnswer::NotLeading,
        ElectionCall::Resign(_) => ElectionAnswer::Resigned,
        _ => ElectionAnswer::Elected(number(&text)),
    })
}

async fn barrier(client: &Client, asked: BarrierCall) -> Result<BarrierAnswer, Error> {
    let text = match asked {
        BarrierCall::Set => "set(\"/b\")",
        BarrierCall::Lift => "lift(\"/b\")",
        BarrierCall::IsSet => "is-set(\"/b\")",
        BarrierCall::TryWait => "wait(\"/b\", some(0))",
        BarrierCall::Wait => "wait(\"/b\", none)",
    };
    let text = call(client, "barrier", text).await?;
    Ok(match asked {
        _ if text.contains("timed-out") => BarrierAnswer::Stopped,
        BarrierCall::TryWait | BarrierCall::Wait => BarrierAnswer::Passed,
        _ if text.contains("true") => BarrierAnswer::Is(true),
        _ => BarrierAnswer::Is(false),
    })
}

/// Somebody leads for a moment, or asks who does.
async fn campaign(client: &Client, records: &Records, dice: &mut Dice) -> Result<(), Error> {
    let kinds = [ElectionCall::Campaign, ElectionCall::TryCampaign, ElectionCall::Leader];
    let asked = kinds[usize::try_from(dice.throw(3)).expect("small")].clone();
    let answer = records.election.around(asked.clone(), election(client, &asked)).await?;
    if let ElectionAnswer::Elected(term) = answer {
        let asked = ElectionCall::Resign(term);
        records.election.around(asked.clone(), election(client, &asked)).await?;
    }
    Ok(())
}

/// The barrier is set for a moment, or passed, or looked at. Who sets it lifts it: who waits does not wait for ever.
async fn stop(client: &Client, records: &Records, dice: &mut Dice) -> Result<(), Error> {
    use BarrierCall::{IsSet, Lift, Set, TryWait, Wait};
    let asked = [Set, Set, Wait, TryWait, IsSet][usize::try_from(dice.throw(5)).expect("small")];
    records.barrier.around(asked, barrier(client, asked)).await?;
    if asked == Set {
        records.barrier.around(Lift, barrier(client, Lift)).await?;
    }
    Ok(())
}

/// One operation, or two that belong together.
pub async fn round(client: &Client, records: &Records, dice: &mut Dice) -> Result<(), Error> {
    let value = dice.throw(1 << 40);
    match dice.throw(16) {
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
        10 | 11 => campaign(client, records, dice).await?,
        12 | 13 => stop(client, records, dice).await?,
        14 => {
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
