//! A network that can be cut: a small proxy before a server.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Works.
    Whole,
    /// Breaks connections and takes no new ones.
    Cut,
    /// Swallows everything and says nothing.
    Silent,
}

/// One consumer's network.
pub struct Network {
    state: watch::Sender<State>,
    proxies: Vec<JoinHandle<()>>,
}

impl Network {
    pub fn new() -> Self {
        Self {
            state: watch::Sender::new(State::Whole),
            proxies: Vec::new(),
        }
    }

    /// A port of 127.0.0.1 that leads to another one as long as the network is whole.
    pub async fn lead_to(&mut self, target: u16) -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let proxy = tokio::spawn(serve(listener, target, self.state.subscribe()));
        self.proxies.push(proxy);
        Ok(port)
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for proxy in &self.proxies {
            proxy.abort();
        }
    }
}

async fn serve(listener: TcpListener, target: u16, state: watch::Receiver<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *state.borrow() != State::Cut {
            connections.spawn(forward(client, target, state.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Until either side ends, or the network is cut. A connection on which the network fell silent never recovers, since
/// something is lost on the way: either side has to notice by itself.
async fn forward(mut client: TcpStream, target: u16, mut state: watch::Receiver<State>) {
    let _ = state.wait_for(|state| *state != State::Silent).await;
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
        return;
    };
    let broken = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        broken = state.wait_for(|state| *state != State::Whole) => broken.map(|state| *state).ok(),
    };
    if broken == Some(State::Silent) {
        std::future::pending::<()>().await;
    }
}
