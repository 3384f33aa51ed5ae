//! The commands that the RESP gateway knows, once: what is answered, what COMMAND says of them, and
//! how many arguments they take.

/// What a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    Get,
    Set,
    Mget,
    Exists,
    Strlen,
    Type,
    Dbsize,
    Ping,
    Echo,
    Info,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Hello,
    Auth,
    Client,
    Select,
    Command,
    Config,
    Reset,
    Quit,
}

/// What there is to know of a command, in the terms of Redis' COMMAND.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) command: Name,
    /// The number of arguments, with the name; as few at least, if negative.
    pub(super) arity: i32,
    pub(super) flags: &'static [&'static str],
    /// The places of the first key and the last, and the step from one to the next.
    pub(super) keys: [i32; 3],
    pub(super) group: &'static str,
    /// The version of Redis that it is like.
    pub(super) since: &'static str,
    pub(super) summary: &'static str,
}

impl Spec {
    /// Whether it can have so many arguments, with its name.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { arguments >= least } else { arguments == least }
    }
}

/// The command of a name, in letters of either case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes()))
}

const NONE: [i32; 3] = [0, 0, 0];
const FIRST: [i32; 3] = [1, 1, 1];
const ALL: [i32; 3] = [1, -1, 1];

macro_rules! commands {
    ($($name:literal $command:ident $arity:literal $keys:ident $group:literal $since:literal
        [$($flag:literal)*] $summary:literal;)*) => {
        /// All of them; what is asked most comes first.
        pub(super) const COMMANDS: &[Spec] = &[$(Spec {
            name: $name,
            command: Name::$command,
            arity: $arity,
            flags: &[$($flag),*],
            keys: $keys,
            group: $group,
            since: $since,
            summary: $summary,
        },)*];
    };
}

commands! {
    "get" Get 2 FIRST "string" "1.0.0" ["readonly" "fast"] "Returns the value of a key.";
    "set" Set -3 FIRST "string" "1.0.0" ["write"] "Sets the value of a key; it takes no options here.";
    "mget" Mget -2 ALL "string" "1.0.0" ["readonly" "fast"]
        "Returns the values of keys, each as it is when its turn comes.";
    "exists" Exists -2 ALL "generic" "1.0.0" ["readonly" "fast"] "Counts which of the keys exist.";
    "strlen" Strlen 2 FIRST "string" "2.2.0" ["readonly" "fast"] "Returns the length of a value.";
    "type" Type 2 FIRST "generic" "1.0.0" ["readonly" "fast"] "Returns string, or none.";
    "dbsize" Dbsize 1 NONE "server" "1.0.0" ["readonly" "fast"] "Returns the number of keys.";
    "ping" Ping -1 NONE "connection" "1.0.0" ["fast"] "Answers PONG, or what it is given.";
    "echo" Echo 2 NONE "connection" "1.0.0" ["fast"] "Returns what it is given.";
    "info" Info -1 NONE "server" "1.0.0" ["loading" "stale"] "Returns how the server is.";
    "multi" Multi 1 NONE "transactions" "1.2.0" ["noscript" "fast"]
        "Begins what ends with EXEC or DISCARD; nothing in it is executed here.";
    "exec" Exec 1 NONE "transactions" "1.2.0" ["noscript"] "Ends MULTI; nothing is executed here.";
    "discard" Discard 1 NONE "transactions" "2.0.0" ["noscript" "fast"] "Ends MULTI.";
    "watch" Watch -2 ALL "transactions" "2.2.0" ["noscript" "fast"] "Is refused here.";
    "unwatch" Unwatch 1 NONE "transactions" "2.2.0" ["noscript" "fast"] "Has nothing to forget here.";
    "hello" Hello -1 NONE "connection" "6.0.0" ["noscript" "fast" "no_auth"]
        "Chooses the protocol, and says who is there.";
    "auth" Auth -2 NONE "connection" "1.0.0" ["noscript" "fast" "no_auth"]
        "Is refused here: there are no passwords.";
    "client" Client -2 NONE "connection" "2.4.0" ["noscript"]
        "ID, GETNAME, SETNAME and SETINFO of this connection.";
    "select" Select 2 NONE "connection" "1.0.0" ["fast"] "Chooses the database 0.";
    "command" Command -1 NONE "server" "2.8.13" ["loading" "stale"]
        "Describes commands: COUNT, LIST, INFO, DOCS.";
    "config" Config -2 NONE "server" "2.0.0" ["admin" "noscript"] "GET of save and appendonly.";
    "reset" Reset 1 NONE "connection" "6.2.0" ["noscript" "fast" "no_auth"]
        "Makes the connection as if it were new.";
    "quit" Quit -1 NONE "connection" "1.0.0" ["noscript" "fast" "no_auth"] "Ends the connection.";
}
