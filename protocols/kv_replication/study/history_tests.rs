//! What operations of the store are called.

use super::super::testing::{get, lost, put};
use super::*;

#[test]
fn names_what_happened_on_one_line() {
    let show = |op: &Op| Described(op).to_string();
    let put = |value, timestamp| put(1, value, timestamp, 10_500_000, 20_000_000);
    assert_eq!(
        show(&put("a\nb", 3)),
        "client 1 PUT k=a\\nb returned PUT_OK (timestamp 3, 10.5 to 20.0 ms)"
    );
    let get = get(2, None, 0, 10_000, 20_000_000);
    assert_eq!(show(&get), "client 2 GET k returned NULL (0.0 to 20.0 ms)");
    let at = |server: &str, op: Op| Op { server: server.into(), ..op };
    assert_eq!(
        show(&at("3'", lost(put("a", 0)))),
        "client 1 PUT k=a at node 3' got no answer (sent at 10.5 ms)"
    );
    let read = Op { value: Some("v".into()), outcome: Outcome::Ok, timestamp: 7, ..get };
    let read = at("127.0.0.1:10097", read);
    assert_eq!(
        Again(&read).to_string(),
        "GET at 127.0.0.1:10097 returned v (timestamp 7, 0.0 to 20.0 ms)"
    );
}
