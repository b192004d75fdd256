//! A way between a client and a member that can be broken: datagrams pass, or are swallowed. It knows nothing of what is in them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// No datagram is larger.
const DATAGRAM_BYTES_MAX: usize = 65_536;

pub struct Proxy {
    /// What the member has to advertise, or its clients would learn a way around.
    pub address: SocketAddr,
    member: Arc<OnceLock<SocketAddr>>,
    is_cut: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Proxy {
    pub async fn start() -> Result<Self> {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let member = Arc::new(OnceLock::new());
        let address = front.local_addr()?;
        let is_cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(forward(front, Arc::clone(&member), Arc::clone(&is_cut)));
        Ok(Self { address, member, is_cut, task })
    }

    /// Where datagrams go from now on; before, they are swallowed.
    pub fn lead_to(&self, member: SocketAddr) {
        self.member.get_or_init(|| member);
    }

    /// Swallows everything from now on, both ways; or lets it pass again.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Each client address gets a socket of its own towards the member, and a task for the way back.
async fn forward(
    front: Arc<UdpSocket>,
    member: Arc<OnceLock<SocketAddr>>,
    is_cut: Arc<AtomicBool>,
) -> Result<()> {
    let mut backs: BTreeMap<SocketAddr, (Arc<UdpSocket>, AbortOnDrop)> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (bytes, client) = front.recv_from(&mut buffer).await?;
        let Some(&member) = member.get().filter(|_| !is_cut.load(Ordering::SeqCst)) else {
            continue;
        };
        let back = match backs.get(&client) {
            Some((back, _)) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind((member.ip(), 0)).await?);
                back.connect(member).await?;
                let (to, from) = (Arc::clone(&back), Arc::clone(&front));
                let task = tokio::spawn(back_to(to, from, client, Arc::clone(&is_cut)));
                backs.insert(client, (Arc::clone(&back), AbortOnDrop(task)));
                back
            }
        };
        // A member that is down refuses: to the client that is a datagram lost.
        back.send(&buffer[..bytes]).await.ok();
    }
}

async fn back_to(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    is_cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok(bytes) = back.recv(&mut buffer).await else { continue };
        if !is_cut.load(Ordering::SeqCst) {
            front.send_to(&buffer[..bytes], client).await.ok();
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
