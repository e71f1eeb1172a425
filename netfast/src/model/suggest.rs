//! Finds what was probably meant.

/// The word most like `wrong`, if any is like it at all.
pub fn suggest<'a>(wrong: &str, words: &[&'a str]) -> Option<&'a str> {
    // Nothing that long is a slip of the pen, and the distance takes time.
    if wrong.len() > 40 {
        return None;
    }
    let lower = wrong.to_lowercase();
    words
        .iter()
        .map(|word| (distance(&lower, &word.to_lowercase()), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).clamp(1, 3) && *distance < wrong.len())
        .min()
        .map(|(_, word)| word)
}

/// What to say to whoever asked for a name that is none of these: which there are, or of many the one that was meant.
pub(super) fn among(wrong: &str, names: &[String]) -> String {
    const FEW: usize = 8;
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    match suggest(wrong, &words) {
        _ if names.is_empty() => "known: none".to_owned(),
        _ if names.len() <= FEW => format!("known: {}", names.join(", ")),
        Some(word) => format!("did you mean {word}?"),
        None => format!("known: {} and {} more", names[..FEW].join(", "), names.len() - FEW),
    }
}

/// How many letters must be put in, left out, changed, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_found() {
        let words = ["ingress", "egress", "podSelector", "policyTypes", "to", "from"];
        for (wrong, wanted) in [
            ("ingres", Some("ingress")),
            ("Ingress", Some("ingress")),
            ("podselector", Some("podSelector")),
            ("podSelectors", Some("podSelector")),
            ("policyType", Some("policyTypes")),
            ("form", Some("from")),
            ("labels", None),
            ("x", None),
        ] {
            assert_eq!(suggest(wrong, &words), wanted, "{wrong}");
        }
    }

    #[test]
    fn of_many_names_not_all_are_told() {
        let names = |count: usize| (0..count).map(|n| format!("web{n}")).collect::<Vec<_>>();
        assert_eq!(among("db", &[]), "known: none");
        assert_eq!(among("db", &names(2)), "known: web0, web1");
        assert_eq!(among("wbe11", &names(1000)), "did you mean web11?");
        assert_eq!(
            among("db", &names(10)),
            "known: web0, web1, web2, web3, web4, web5, web6, web7 and 2 more"
        );
    }
}
