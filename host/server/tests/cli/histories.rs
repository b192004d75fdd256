//! What concurrent clients see while their server is killed and started again under them, checked for linearizability:
//! whatever order of moments explains all answers, there is one.

use std::sync::Arc;

use quorate_client::{Authority, Client, Options};
use tokio::sync::watch;

use crate::harness::{Home, Server};
use crate::rounds::{Dice, Records, round};

const CLIENTS: u64 = 6;
/// Rounds of one client; a round is one or two operations.
const ROUNDS: usize = 60;
const KILLS: usize = 3;

async fn client(
    server: (String, std::path::PathBuf),
    seed: u64,
    records: Arc<Records>,
    progress: watch::Sender<usize>,
) -> Result<(), String> {
    let options = Options::new([server.0], Authority::File(server.1));
    let client = Client::connect(options).await.map_err(|error| error.to_string())?;
    let mut dice = Dice::new(seed);
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
    let records = Arc::new(Records::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let _server = runtime.expect("a runtime").block_on(play(&home, home.dev(), &records));
    records.assert_linearizable();
}
