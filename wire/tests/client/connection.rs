//! Connections of the client: pipelining, and going on elsewhere when one is lost.

use crate::support::{Gateways, Kind, Script};
use std::time::Duration;
use wire::client::{Client, Error};
use wire::message::{ClientRequest, RequestError};

#[tokio::test]
async fn many_requests_are_in_flight_on_one_connection() {
    let gateways = Gateways::start(1).await;
    gateways.world().set("k", "v");
    gateways.world().script(0, Kind::Read, [Script::Silence]);
    let client = gateways.client().await;
    // One request is never answered; those behind it are.
    let stuck = tokio::spawn({
        let client = client.clone();
        async move { client.get("k").await }
    });
    while gateways.world().snapshots().is_empty() {
        tokio::task::yield_now().await;
    }
    let each = |_| {
        let client = client.clone();
        tokio::spawn(async move { client.get("k").await })
    };
    let all: Vec<_> = (0..100).map(each).collect();
    for one in all {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(gateways.world().connections, 1);
    stuck.abort();
}

#[tokio::test]
async fn a_read_goes_on_at_another_gateway_when_its_connection_is_cut() {
    let gateways = Gateways::start(3).await;
    gateways.world().set("k", "v");
    gateways.world().script(0, Kind::Read, [Script::Cut]);
    let client = gateways.client().await;
    assert!(client.get("k").await.unwrap().is_some());
    let read = |(gateway, request): &(usize, ClientRequest)| match request {
        ClientRequest::Read { .. } => Some(*gateway),
        _ => None,
    };
    let asked: Vec<_> = gateways.world().requests.iter().filter_map(read).collect();
    assert_eq!(asked, [0, 1]);
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_done_without() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("k", "v");
    let client = gateways.client().await;
    gateways.stop_listening(0);
    gateways.world().script(0, Kind::Read, [Script::Cut]);
    for _ in 0..3 {
        assert!(client.get("k").await.unwrap().is_some());
    }
    client.put("k", "w").await.unwrap();
    assert_eq!(gateways.world().commits()[0].0, 1);
}

/// A process that was stopped, or a machine without power, closes no connection.
#[tokio::test]
async fn a_gateway_that_stands_still_is_done_without_soon() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("k", "v");
    let client = gateways.client().await;
    gateways.world().script(0, Kind::Read, [Script::StandStill]);
    // A gateway that is only slow about one request has 5 s.
    let soon = tokio::time::timeout(Duration::from_secs(4), async {
        assert!(client.get("k").await.unwrap().is_some());
        client.put("k", "w").await.unwrap();
    });
    soon.await.expect("another gateway is asked soon");
    assert_eq!(gateways.world().commits()[0].0, 1);
}

#[tokio::test]
async fn every_refusal_is_told_if_no_gateway_serves() {
    let gateways = Gateways::start(1).await;
    let error = || Script::Answer(Err(RequestError::NotFounded { why: "x".into() }));
    gateways
        .world()
        .script(0, Kind::Read, (0..1000).map(|_| error()));
    let addresses = gateways.world().addresses.clone();
    let options = wire::client::ClientOptions {
        timeout: std::time::Duration::from_millis(200),
        ..Default::default()
    };
    let client = Client::connect_with(&addresses, options).await.unwrap();
    let ended = client.get("k").await.unwrap_err();
    assert!(
        matches!(ended, Error::Request(RequestError::NotFounded { .. })),
        "{ended}"
    );
}

#[tokio::test]
async fn connecting_to_nobody_names_what_was_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let options = wire::client::ClientOptions {
        connect_timeout: std::time::Duration::ZERO,
        ..Default::default()
    };
    let Err(Error::Connect { tried }) = Client::connect_with(&[&address], options).await else {
        panic!("nobody listens at {address}");
    };
    assert_eq!(tried.len(), 1);
    assert_eq!(tried[0].0, address);
}

#[tokio::test]
async fn values_of_the_past_are_read_at_their_timestamp() {
    let gateways = Gateways::start(1).await;
    let old = gateways.world().set("k", "old");
    gateways.world().set("k", "new");
    let client = gateways.client().await;
    let value = client.at(old).get("k").await.unwrap().unwrap();
    assert_eq!(
        (value.value.as_ref(), value.timestamp),
        (b"old".as_slice(), old)
    );
    let rows = client.at(old).scan(..).collect().await.unwrap();
    assert_eq!(rows[0].version, value);
}
