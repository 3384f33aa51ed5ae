//! Bugs that a protocol can be told to have, for a test of the simulator and its checkers.

/// Defines `Planted`, which of the module's `Mutant`s a node has: the key `mutant` of its `Config`. They
/// exist only with the feature `mutants`, which nothing but that test turns on; without it no config can
/// name one, and `Planted::has` is false at compile time.
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    () => {
        /// Which bug a node has.
        #[derive(Clone, Copy, Default, Debug)]
        pub(crate) struct Planted {
            #[cfg(feature = "mutants")]
            pub(crate) mutant: Option<Mutant>,
        }

        impl super::Config {
            pub(super) fn planted(&self) -> Planted {
                Planted {
                    #[cfg(feature = "mutants")]
                    mutant: self.mutant,
                }
            }
        }

        impl Planted {
            #[cfg(feature = "mutants")]
            pub(crate) fn has(self, mutant: Mutant) -> bool {
                self.mutant == Some(mutant)
            }

            #[cfg(not(feature = "mutants"))]
            #[inline(always)]
            pub(crate) const fn has(self, _: Mutant) -> bool {
                false
            }
        }
    };
}
