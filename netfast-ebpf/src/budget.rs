//! What may happen so often a second, on each CPU.

use netfast_common::conntrack::SECOND;

/// What a CPU has spent of so much a second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// The second it was spent in.
    second: u64,
    /// How much.
    spent: u32,
}

impl Budget {
    /// Spends one of `most` a second; `false`: all is spent.
    #[inline(always)]
    pub(crate) const fn spend(&mut self, now: u64, most: u32) -> bool {
        let second = now / SECOND;
        if self.second != second {
            self.second = second;
            self.spent = 0;
        }
        self.spent += 1;
        self.spent <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_second_brings_a_new_budget() {
        let mut budget = Budget::default();
        let in_second =
            |budget: &mut Budget, second| (0..9).filter(|_| budget.spend(second * SECOND, 4)).count();
        assert_eq!([1, 1, 2].map(|second| in_second(&mut budget, second)), [4, 0, 4]);
    }
}
