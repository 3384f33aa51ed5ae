//! What the protocols of one node tell each other. They never call each other: one publishes a
//! fact, the others get it before the next event from outside. Knows the form of facts, and of
//! their content only [`ClockOffset`], which concerns the simulator too.

use super::{Correction, NodeId};
use ::core::any::Any;
use ::core::fmt;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a fact states: a name, and a form that JSON can carry. Any crate may define one. Two types
/// of one name are one kind of fact, so protocols that have no crate in common can still talk.
///
/// ```
/// use node_core::{Fact, FactKind, FactType, NodeId};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
/// struct Suspected {
///     id: NodeId,
/// }
///
/// impl FactType for Suspected {
///     const NAME: &'static str = "Suspected";
///     fn subject(&self) -> Option<NodeId> {
///         Some(self.id)
///     }
/// }
///
/// // Its publisher's `PUBLISHES`, and the `needs` of whoever cannot do without.
/// const PUBLISHES: &[FactKind] = &[FactKind::of::<Suspected>()];
/// let fact = Fact::of(Suspected { id: NodeId(3) });
/// assert_eq!(fact.read(), Some(Suspected { id: NodeId(3) }));
/// assert_eq!(fact.json().to_string(), r#"{"id":3}"#);
/// ```
pub trait FactType:
    Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What configs' errors and traces call this kind of fact, in camel case.
    const NAME: &'static str;

    /// The node that it is about, if it is about one.
    fn subject(&self) -> Option<NodeId> {
        None
    }
}

/// A kind of fact, for declaring who publishes and who needs what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactKind(&'static str);

impl FactKind {
    /// The kind of facts of a type.
    pub const fn of<F: FactType>() -> FactKind {
        FactKind(F::NAME)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// The bare name.
impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The bare name, as in `Display`.
impl fmt::Debug for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A statement that one protocol of a node makes and any other may use. Each kind has at most one
/// publisher on a node.
pub struct Fact(Box<dyn Erased>);

impl Fact {
    /// What this states. Allocates nothing for a type without fields, which may so be stated with
    /// every message.
    pub fn of(fact: impl FactType) -> Fact {
        Fact(Box::new(fact))
    }

    /// What a trace says was stated.
    pub fn recorded(name: &str, subject: Option<NodeId>, value: Value) -> Fact {
        Fact(Box::new(Recorded { name: name.into(), subject, value }))
    }

    /// Which kind of fact it is.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The node that it is about, if it is about one.
    pub fn subject(&self) -> Option<NodeId> {
        self.0.about()
    }

    /// What it states; none if that is of another kind, or not of the type's form.
    pub fn read<F: FactType>(&self) -> Option<F> {
        if self.name() != F::NAME {
            return None;
        }
        match self.0.any().downcast_ref::<F>() {
            Some(fact) => Some(fact.clone()),
            None => F::deserialize(&*self.0.json()).ok(),
        }
    }

    /// What it states, for traces; of what JSON cannot carry, a text for people.
    pub fn json(&self) -> Value {
        self.0.json().into_owned()
    }
}

impl Clone for Fact {
    fn clone(&self) -> Fact {
        Fact(self.0.copy())
    }
}

/// One that was recorded equals one that was not.
impl PartialEq for Fact {
    fn eq(&self, other: &Fact) -> bool {
        let all = |fact: &Fact| (fact.subject(), fact.json());
        self.name() == other.name() && all(self) == all(other)
    }
}

impl Eq for Fact {}

/// As its type shows itself.
impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

/// A fact without its type.
trait Erased: Send + Sync {
    fn name(&self) -> &str;
    fn about(&self) -> Option<NodeId>;
    fn json(&self) -> Cow<'_, Value>;
    fn any(&self) -> &dyn Any;
    fn copy(&self) -> Box<dyn Erased>;
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<F: FactType> Erased for F {
    fn name(&self) -> &str {
        F::NAME
    }
    fn about(&self) -> Option<NodeId> {
        self.subject()
    }
    fn json(&self) -> Cow<'_, Value> {
        let value = serde_json::to_value(self);
        Cow::Owned(value.unwrap_or_else(|_| Value::String(format!("{self:?}"))))
    }
    fn any(&self) -> &dyn Any {
        self
    }
    fn copy(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

/// A fact whose type only its readers know.
#[derive(Clone)]
struct Recorded {
    name: Box<str>,
    subject: Option<NodeId>,
    value: Value,
}

impl Erased for Recorded {
    fn name(&self) -> &str {
        &self.name
    }
    fn about(&self) -> Option<NodeId> {
        self.subject
    }
    fn json(&self) -> Cow<'_, Value> {
        Cow::Borrowed(&self.value)
    }
    fn any(&self) -> &dyn Any {
        self
    }
    fn copy(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}

/// What must be added to this node's wall clock to have the group's time. The simulator applies it
/// to the clock that it shows checkers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockOffset {
    /// How it moves from the present value to the right one.
    pub correction: Correction,
}

impl FactType for ClockOffset {
    const NAME: &'static str = "ClockOffset";
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use serde_json::json;

    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Load {
        id: NodeId,
        permille: u64,
        of: String,
    }

    impl FactType for Load {
        const NAME: &'static str = "Load";
        fn subject(&self) -> Option<NodeId> {
            Some(self.id)
        }
    }

    fn load() -> Load {
        Load { id: NodeId(3), permille: u64::MAX, of: "disk".into() }
    }

    /// Another crate's, of the same name.
    mod elsewhere {
        use super::*;

        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub struct Load {
            pub permille: u64,
        }
        impl FactType for Load {
            const NAME: &'static str = "Load";
        }

        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub struct Narrow {
            pub permille: u8,
        }
        impl FactType for Narrow {
            const NAME: &'static str = "Load";
        }
    }

    #[test]
    fn a_fact_is_read_by_its_name_and_its_content() {
        let fact = Fact::of(load());
        assert_eq!((fact.name(), fact.subject()), ("Load", Some(NodeId(3))));
        assert_eq!(fact.read(), Some(load()));
        assert_eq!(fact.clone().read(), Some(elsewhere::Load { permille: u64::MAX }));
        assert_eq!(fact.read::<elsewhere::Narrow>(), None, "it has no room for the number");
        assert_eq!(fact.read::<ClockOffset>(), None);
        let offset = ClockOffset { correction: Correction::default() };
        assert_eq!(Fact::of(offset).read::<Load>(), None);
        assert_eq!(format!("{fact:?}"), format!("{:?}", load()));
    }

    #[test]
    fn what_was_recorded_is_read_as_what_was_said() {
        let said = Fact::of(load());
        let value = said.json();
        assert_eq!(value, json!({"id": 3, "permille": u64::MAX, "of": "disk"}));
        let recorded = Fact::recorded("Load", Some(NodeId(3)), value.clone());
        assert_eq!(recorded, said);
        assert_eq!(recorded.read(), Some(load()));
        assert_ne!(recorded, Fact::recorded("Load", None, value.clone()));
        assert_ne!(recorded, Fact::recorded("Loads", Some(NodeId(3)), value.clone()));
        assert_ne!(recorded, Fact::recorded("Load", Some(NodeId(3)), json!({})));
        assert_eq!(Fact::recorded("Loads", None, value).read::<Load>(), None);
        for broken in [Value::Null, json!("Load"), json!([3]), json!({"id": 3}), json!({"id": -1})]
        {
            assert_eq!(Fact::recorded("Load", None, broken.clone()).read::<Load>(), None);
        }
        let offset = ClockOffset {
            correction: Correction::default().slew(super::super::WallTime(7), -5, 9),
        };
        let recorded = Fact::recorded("ClockOffset", None, Fact::of(offset).json());
        assert_eq!(recorded.read(), Some(offset));
    }

    #[test]
    fn what_json_cannot_carry_is_text() {
        use alloc::collections::BTreeMap;

        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        struct Pairs(BTreeMap<(u8, u8), u8>);
        impl FactType for Pairs {
            const NAME: &'static str = "Pairs";
        }

        let pairs = Pairs([((1, 2), 3)].into());
        assert_eq!(Fact::of(pairs.clone()).json(), json!("Pairs({(1, 2): 3})"));
        assert_eq!(Fact::of(pairs.clone()).read(), Some(pairs));
    }

    #[test]
    fn kinds_are_their_names() {
        let kind = FactKind::of::<Load>();
        assert_eq!(kind, FactKind::of::<elsewhere::Load>());
        assert!(FactKind::of::<ClockOffset>() < kind);
        assert_eq!((kind.to_string(), format!("{kind:?}")), ("Load".into(), "Load".into()));
    }
}
