use super::*;
use crate::check;
use node_lab::study::Bounds;

fn post(user: &str, text: &str, invoke_ns: u64, answer: Option<Posted>) -> Post {
    Post {
        user: user.into(),
        topic: "general".into(),
        text: text.into(),
        invoke_ns,
        over_ns: Some(invoke_ns + 5),
        answer,
    }
}

fn heard(at_ns: u64, user: &str, text: &str) -> Heard {
    Heard { at_ns, user: user.into(), topic: "general".into(), text: text.into() }
}

/// Ana posts three times, the second of which is lost, and Bo once; one client listens to all of it, and
/// another for a while.
fn run() -> Board {
    Board {
        posts: vec![
            post("ana", "a1", 100, Some(Posted::Published)),
            post("ana", "a2", 200, Some(Posted::Not)),
            post("ana", "a3", 300, Some(Posted::Unknown)),
            post("bo", "b1", 150, Some(Posted::Published)),
        ],
        connections: vec![
            Connection {
                client: 1,
                topics: vec![("general".into(), Some(10))],
                until_ns: None,
                heard: vec![
                    heard(104, "ana", "a1"),
                    heard(154, "bo", "b1"),
                    heard(310, "ana", "a3"),
                ],
                missed: vec![],
            },
            Connection {
                client: 2,
                topics: vec![("general".into(), Some(10))],
                until_ns: Some(140),
                heard: vec![heard(104, "ana", "a1")],
                missed: vec![],
            },
        ],
        end_ns: 1_000,
    }
}

/// What is violated: `.` held, `x` violated, `?` unknown; order, once, gap, answers.
fn verdicts(board: Board) -> String {
    let bounds = Bounds::default().with(&NOTICE, 50);
    let history = Run { bounds, ..Run::from(board) };
    let show = |property| match check(property, &history) {
        Verdict::Held => '.',
        Verdict::Violated(violation) => {
            assert!(violation.at.is_some() && !violation.why.contains('\n'));
            'x'
        }
        Verdict::Unknown { .. } | Verdict::Undecided { .. } => '?',
    };
    let all = [
        "per_publisher_order",
        "delivered_at_most_once",
        "no_silent_gap",
        "answers_match_deliveries",
    ];
    all.into_iter().map(show).collect()
}

#[test]
fn a_run_as_it_should_be_holds() {
    assert_eq!(verdicts(run()), "....");
    assert_eq!(verdicts(Board { posts: vec![], ..run() }), "????");
    assert_eq!(verdicts(Board { connections: vec![], ..run() }), "????");
    let mut deaf = run();
    deaf.connections.truncate(1);
    deaf.connections[0].heard.clear();
    deaf.connections[0].topics.clear();
    assert_eq!(verdicts(deaf), "????", "who listens to nothing shows nothing");
    let mut one = run();
    one.connections.truncate(1);
    one.connections[0].heard.truncate(1);
    one.connections[0].until_ns = Some(140);
    assert_eq!(verdicts(one), "?.?.", "one post has no order, and was owed to nobody for long");
    let mut twins = run();
    twins.posts.push(post("bo", "a1", 500, None));
    assert_eq!(verdicts(twins), "????");
}

#[test]
fn a_post_before_an_earlier_one_of_its_user_breaks_the_order() {
    let mut board = run();
    board.connections[0].heard.swap(0, 2);
    assert_eq!(verdicts(board.clone()), "x...");
    // Nobody said which comes first: the one was not over when the other was sent.
    board.posts[0].over_ns = Some(300);
    assert_eq!(verdicts(board), "....");
    // Two users have no order.
    let mut board = run();
    board.connections[0].heard.swap(0, 1);
    assert_eq!(verdicts(board), "....");
}

#[test]
fn a_post_heard_twice_is_seen_over_another_connection_too() {
    let mut board = run();
    let again = board.connections[0].heard[2].clone();
    board.connections[0].heard.push(again.clone());
    assert_eq!(verdicts(board), ".x..");
    let mut board = run();
    let other = Connection { client: 1, heard: vec![again], ..board.connections[1].clone() };
    board.connections.push(other);
    assert_eq!(verdicts(board), ".x..");
}

#[test]
fn what_a_listener_misses_it_must_be_told() {
    let gap = || {
        let mut board = run();
        board.connections[0].heard.remove(1);
        board
    };
    assert_eq!(verdicts(gap()), "..x.");
    let told = |change: fn(&mut Connection)| {
        let mut board = gap();
        change(&mut board.connections[0]);
        verdicts(board)
    };
    assert_eq!(told(|one| one.missed.push((150, 1))), "....");
    assert_eq!(told(|one| one.missed.push((149, 1))), "..x.");
    // Two posts are missing, and one is told.
    let mut board = gap();
    board.connections[0].heard.remove(0);
    board.connections[0].missed = vec![(160, 1)];
    assert_eq!(verdicts(board.clone()), "?.x.");
    board.connections[0].missed = vec![(120, 1), (160, 1)];
    assert_eq!(verdicts(board.clone()), "?...");
    // The later of them cannot have been counted before it was sent.
    board.connections[0].missed = vec![(120, 2)];
    assert_eq!(verdicts(board), "?.x.");
    // The connection ended when it could still have come; or it began too late, or elsewhere.
    assert_eq!(told(|one| one.until_ns = Some(204)), "....");
    assert_eq!(told(|one| one.until_ns = Some(205)), "..x.");
    assert_eq!(told(|one| one.topics[0].1 = Some(151)), "....");
    assert_eq!(told(|one| one.topics[0].1 = None), "..?.", "nothing is owed");
    assert_eq!(told(|one| one.topics[0].0 = "other".into()), "..?.");
    // What was not published, or perhaps not, may be missing, unless somebody heard it.
    let mut board = gap();
    board.posts[3].answer = Some(Posted::Unknown);
    assert_eq!(verdicts(board.clone()), "....");
    board.connections[1].heard.push(heard(154, "bo", "b1"));
    assert_eq!(verdicts(board), "..x.");
}

#[test]
fn what_is_heard_was_posted_and_not_denied() {
    let hears = |one: Heard| {
        let mut board = run();
        board.connections[0].heard.push(one);
        verdicts(board)
    };
    assert_eq!(hears(heard(400, "ana", "a2")), "x..x", "it is said not to be published, and late");
    assert_eq!(hears(heard(400, "ana", "a9")), "...x", "nobody posted it");
    let mut board = run();
    board.connections[0].heard[1].user = "ana".into();
    assert_eq!(verdicts(board), "...x");
    let mut board = run();
    board.connections[0].heard[1].topic = "other".into();
    assert_eq!(verdicts(board), "...x");
    let mut board = run();
    board.connections[0].heard[1].at_ns = 149;
    assert_eq!(verdicts(board), "...x");
    let mut board = run();
    (board.posts[2].over_ns, board.posts[2].answer) = (None, None);
    assert_eq!(verdicts(board), "...x", "no answer came");
}
