#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicUsize;

use pingora::connectors::http::Connector;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server of JWK Sets: the ids of the keys that it gives now, and how often it was asked. Without ids it answers 500.
#[derive(Default)]
struct Provider {
    kids: parking_lot::Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
    targets: parking_lot::Mutex<Vec<String>>,
}

impl Provider {
    async fn start(kids: &[&'static str]) -> (Arc<Self>, RemoteKeys) {
        let provider = Arc::new(Self { kids: parking_lot::Mutex::new(kids.to_vec()), ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RemoteKeys::at(&format!("http://{}/keys/?tenant=a", listener.local_addr().unwrap()));
        let server = Arc::clone(&provider);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                server.asked.fetch_add(1, Ordering::SeqCst);
                let request = String::from_utf8(request).unwrap();
                server.targets.lock().push(request.split(' ').nth(1).unwrap().to_owned());
                // Long enough for other requests to wait for this one.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let answer = server.answer();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (provider, url)
    }

    fn answer(&self) -> String {
        let kids = self.kids.lock();
        let keys: Vec<String> =
            kids.iter().map(|kid| format!(r#"{{"kty":"RSA","kid":"{kid}","n":"AQAB","e":"AQAB"}}"#)).collect();
        let (status, body) = match kids.is_empty() {
            true => ("500 Internal Server Error", String::new()),
            false => ("200 OK", format!(r#"{{"keys":[{}]}}"#, keys.join(","))),
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn sets(url: &RemoteKeys, earlier: Option<&JwkSets>) -> JwkSets {
    let client = Client::new(Arc::new(Connector::new(None)));
    JwkSets::new([(url, "access.issuers")].into_iter(), &client, earlier)
}

#[tokio::test]
async fn a_set_is_fetched_once_and_again_for_an_unknown_key() {
    let (provider, url) = Provider::start(&["a"]).await;
    let sets = sets(&url, None);
    assert_eq!(provider.asked(), 0, "nobody needs it yet");
    for _ in 0..3 {
        assert!(sets.keys(&url, Some("a")).await.unwrap().has("a"));
    }
    assert_eq!(provider.asked(), 1);
    assert_eq!(*provider.targets.lock(), ["/keys/?tenant=a"]);
    *provider.kids.lock() = vec!["b"];
    // The pause holds an unknown key up, and the known one stays good.
    assert!(!sets.keys(&url, Some("b")).await.unwrap().has("b"));
    *sets.0[&url].due.lock().await = None;
    assert!(sets.keys(&url, Some("b")).await.unwrap().has("b"));
    assert_eq!(provider.asked(), 2);
    assert!(!sets.keys(&url, Some("a")).await.unwrap().has("a"), "it was withdrawn");
    assert_eq!(sets.keys(&RemoteKeys::at("http://127.0.0.1:1/other"), None).await.err(), Some(NoKeys));
}

#[tokio::test]
async fn many_unknown_keys_at_once_cause_one_fetch() {
    let (provider, url) = Provider::start(&["a"]).await;
    let sets = Arc::new(sets(&url, None));
    let mut asking = Vec::new();
    for index in 0..200 {
        let (sets, url) = (Arc::clone(&sets), url.clone());
        asking.push(tokio::spawn(async move { sets.keys(&url, Some(&format!("unknown {index}"))).await.unwrap() }));
    }
    for asked in asking {
        assert!(asked.await.unwrap().has("a"));
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_the_request_that_began_it_is_gone() {
    let (provider, url) = Provider::start(&["a"]).await;
    let sets = sets(&url, None);
    assert!(tokio::time::timeout(Duration::from_millis(5), sets.keys(&url, Some("a"))).await.is_err());
    let set = Arc::clone(&sets.0[&url]);
    tokio::time::timeout(Duration::from_secs(20), async {
        while set.known.load().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn what_is_known_stays_in_use_while_the_server_fails_and_over_a_reload() {
    let (provider, url) = Provider::start(&[]).await;
    let first = sets(&url, None);
    assert_eq!(first.keys(&url, Some("a")).await.err(), Some(NoKeys));
    assert_eq!(first.keys(&url, Some("a")).await.err(), Some(NoKeys));
    assert_eq!(provider.asked(), 1, "a failure has its pause, too");
    *provider.kids.lock() = vec!["a"];
    *first.0[&url].due.lock().await = None;
    assert!(first.keys(&url, Some("a")).await.unwrap().has("a"));
    provider.kids.lock().clear();
    *first.0[&url].due.lock().await = None;
    assert!(first.keys(&url, Some("b")).await.unwrap().has("a"));
    assert_eq!(provider.asked(), 3);
    let next = sets(&url, Some(&first));
    assert!(next.keys(&url, Some("a")).await.unwrap().has("a"));
    assert_eq!(provider.asked(), 3);
}

#[tokio::test]
async fn an_old_set_is_used_once_more_and_fetched_beside_the_requests() {
    let (provider, url) = Provider::start(&["a"]).await;
    let sets = sets(&url, None);
    let keys = sets.keys(&url, Some("a")).await.unwrap();
    let set = Arc::clone(&sets.0[&url]);
    let Some(at) = Instant::now().checked_sub(FRESH + Duration::from_secs(1)) else { return };
    *provider.kids.lock() = vec!["a", "b"];
    set.known.store(Some(Arc::new(Fetched { keys, at })));
    *set.due.lock().await = None;
    for _ in 0..100 {
        assert!(sets.keys(&url, Some("a")).await.unwrap().has("a"));
    }
    tokio::time::timeout(Duration::from_secs(20), async {
        while set.known.load().as_ref().is_some_and(|known| known.at == at) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(sets.keys(&url, Some("b")).await.unwrap().has("b"));
    assert_eq!(provider.asked(), 2);
}
