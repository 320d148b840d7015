//! What the cores ask of the outside world and never fetch themselves.

/// A source of random bytes. The daemon gives the operating system's, tests give a seeded one.
///
/// Keys and nonces are drawn from it, so an implementation for production must be cryptographically secure.
pub trait Entropy: Send {
    /// Fills `bytes` with fresh random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<E: Entropy + ?Sized> Entropy for Box<E> {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

/// Draws `N` fresh random bytes.
pub fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
