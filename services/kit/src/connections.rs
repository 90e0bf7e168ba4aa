//! Connections from clients: how many there may be, and how long one may keep this process waiting.
//!
//! A connection has its place among all and among those from its address. Who finds none is let in
//! by the side door, where health is answered and nothing else: there is room for a few, and the
//! eldest gives way. So a probe is answered while others hold every place.

mod lingering;
mod patient;
mod watched;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::endpoint::is_probe;
use lingering::Lingering;
use patient::Patient;
use watched::Watched;

/// Files that are no connections from clients: those to the database, log, libraries.
const OTHER_DESCRIPTORS: usize = 200;

/// How many may wait at the side door.
const SIDE_DOOR: usize = 32;

/// How long somebody at the side door may take to say what they want.
const SIDE_DOOR_PATIENCE: Duration = Duration::from_secs(2);

/// What is kept of a request until it is complete: its head must fit in.
const BUFFER_BYTES: usize = 64 * 1024;

/// After an error that is not the client's: most likely there is no descriptor left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Takes connections until shutdown, then waits for those that are under way.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    places: Arc<Places>,
    times: Times,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let side_door = SideDoor::default();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken: {error}");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let connection = Connection {
            stream,
            peer,
            door: door.clone(),
            place: places.take(peer.ip()),
            times,
            shutdown: shutdown.clone(),
        };
        let is_at_side_door = connection.place.is_none();
        let task = connections.spawn(connection.serve());
        if is_at_side_door {
            metrics::counter!("devart_http_connections_refused_total").increment(1);
            side_door.let_in(task.abort_handle());
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What is behind the connections.
#[derive(Clone)]
pub struct Door {
    /// For whoever has a place.
    pub router: Router,
    /// What the others are told, unless they ask for health.
    pub turned_away: fn() -> Response,
}

impl Door {
    async fn answer(
        &mut self,
        request: Request<Incoming>,
        peer: SocketAddr,
        at_side_door: bool,
    ) -> Result<Response, Infallible> {
        if at_side_door && !is_probe(request.uri().path()) {
            return Ok((self.turned_away)());
        }
        let (head, body) = request.into_parts();
        let (body, end) = Watched::new(body);
        let mut request = Request::from_parts(head, Body::new(body));
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut answer = self.router.call(request).await?;
        end.announce(&mut answer);
        Ok(answer)
    }
}

/// How long a client may keep this process waiting.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For the head of its first request.
    pub head: Duration,
    /// For the head of a further request.
    pub idle: Duration,
    /// For taking what is written to it.
    pub write: Duration,
}

impl Times {
    fn at_side_door(self) -> Self {
        Self {
            head: self.head.min(SIDE_DOOR_PATIENCE),
            ..self
        }
    }
}

/// The places for connections.
pub struct Places {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    /// As many as wanted, in all and for one address, and as a process with so many descriptors can
    /// have.
    pub fn new(most: usize, most_per_address: usize, descriptors: usize) -> Self {
        let room = descriptors
            .saturating_sub(OTHER_DESCRIPTORS + SIDE_DOOR)
            .max(1);
        let most = most.min(room);
        Self {
            most,
            most_per_address: most_per_address.min(most),
            taken: Mutex::default(),
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.lock().all
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut taken = self.lock();
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.most || of_address >= self.most_per_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Place {
            places: Arc::clone(self),
            address,
        })
    }

    fn give_back(&self, address: IpAddr) {
        let mut taken = self.lock();
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
            }
        }
    }

    /// The counts are consistent between any two statements.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one address of IPv6 has all of its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}

/// A place for one connection, until it is dropped.
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.address);
    }
}

/// Those without a place, eldest first.
#[derive(Default)]
struct SideDoor(Mutex<VecDeque<AbortHandle>>);

impl SideDoor {
    fn let_in(&self, connection: AbortHandle) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|connection| !connection.is_finished());
        if waiting.len() >= SIDE_DOOR
            && let Some(eldest) = waiting.pop_front()
        {
            eldest.abort();
        }
        waiting.push_back(connection);
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    /// None at the side door.
    place: Option<Place>,
    times: Times,
    shutdown: CancellationToken,
}

impl Connection {
    async fn serve(self) {
        let at_side_door = self.place.is_none();
        let times = match at_side_door {
            true => self.times.at_side_door(),
            false => self.times,
        };
        // An answer consists of a head and a body, which must not wait for each other.
        let _ = self.stream.set_nodelay(true);
        let stream = TokioIo::new(Lingering::new(Patient::new(self.stream, times.write)));
        let heard = CancellationToken::new();
        let (door, peer, hears) = (self.door, self.peer, heard.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            hears.cancel();
            let mut door = door.clone();
            async move { door.answer(request, peer, at_side_door).await }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(times.idle)
            .keep_alive(!at_side_door)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(stream, answer);
        until_it_ends(connection, times.head, &heard, &self.shutdown).await;
    }
}

/// Serves the connection until it ends. One that was not `heard` in time is cut.
async fn until_it_ends<S>(
    connection: http1::Connection<TokioIo<Lingering<Patient<TcpStream>>>, S>,
    head: Duration,
    heard: &CancellationToken,
    shutdown: &CancellationToken,
) where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let mut silence = pin!(tokio::time::sleep(head));
    let (mut may_be_silent, mut is_stopping) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended: {error}");
                }
                return;
            }
            () = &mut silence, if !may_be_silent => {
                if !heard.is_cancelled() {
                    metrics::counter!("devart_http_silent_clients_cut_total").increment(1);
                    return;
                }
                may_be_silent = true;
            }
            () = shutdown.cancelled(), if !is_stopping => {
                connection.as_mut().graceful_shutdown();
                is_stopping = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, per_address: usize) -> Arc<Places> {
        Arc::new(Places::new(most, per_address, 100_000))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_has_its_share_and_leaves_the_rest_to_others() {
        let places = places(3, 2);
        let held: Vec<_> = (0..3).map(|_| places.take(address(1))).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        let other = places.take(address(2));
        assert!(other.is_some());
        assert!(places.take(address(3)).is_none(), "all three are taken");
        drop(other);
        assert!(places.take(address(3)).is_some());
        drop(held);
        assert_eq!(places.taken(), 0);
        assert!(places.lock().by_address.is_empty());
    }

    #[test]
    fn there_are_no_more_places_than_descriptors() {
        let few = Places::new(1_000, 1_000, OTHER_DESCRIPTORS + SIDE_DOOR + 2);
        let places = Arc::new(few);
        let held: Vec<_> = (0..4).map(|_| places.take(address(1))).collect();
        assert_eq!(held.iter().flatten().count(), 2);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let of = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), address(1));
    }

    #[tokio::test]
    async fn at_the_side_door_the_eldest_gives_way() {
        let door = SideDoor::default();
        let eldest = tokio::spawn(std::future::pending::<()>());
        door.let_in(eldest.abort_handle());
        for _ in 0..SIDE_DOOR {
            assert!(!eldest.is_finished());
            door.let_in(tokio::spawn(std::future::pending::<()>()).abort_handle());
        }
        assert!(eldest.await.expect_err("aborted").is_cancelled());
    }
}
