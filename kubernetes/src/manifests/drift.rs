//! Whether an object is still as it was asked for. Fields that we do not set are others' (defaults, status,
//! what controllers note); a list that we set is ours whole.

use serde::Serialize;
use serde_json::Value;

/// Whether `live` has everything that `wanted` sets. What cannot be compared counts as different.
pub fn holds<T: Serialize>(live: &T, wanted: &T) -> bool {
    match (serde_json::to_value(live), serde_json::to_value(wanted)) {
        (Ok(live), Ok(wanted)) => contains(&live, &wanted),
        _ => false,
    }
}

fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match live.get(key) {
            Some(live) => contains(live, wanted),
            None => empty(wanted),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        _ => live == wanted,
    }
}

/// What the apiserver leaves out of its answers.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(empty),
        Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_and_others_fields_are_no_difference() {
        let wanted = json!({"spec": {"replicas": 1, "list": [{"a": 1}], "empty": {}}, "metadata": {"labels": {"x": "y"}}});
        let live = json!({"spec": {"replicas": 1, "list": [{"a": 1, "default": 2}], "more": 3},
            "metadata": {"labels": {"x": "y", "theirs": "z"}, "uid": "u"}, "status": {}});
        assert!(holds(&live, &wanted));
    }

    #[test]
    fn a_changed_a_missing_and_an_added_item_are() {
        let wanted = json!({"list": [1, 2], "n": "a"});
        for live in [json!({"list": [1, 3], "n": "a"}), json!({"list": [1, 2]}), json!({"list": [1, 2, 3], "n": "a"})] {
            assert!(!holds(&live, &wanted), "{live}");
        }
    }
}
