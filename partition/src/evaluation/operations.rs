//! What operations make of the values that they meet.
//!
//! Numbers are signed 64-bit decimals in ASCII; an absent key counts as 0 for `Add`, as empty for
//! `Append`, and takes the operand of `Min` and `Max`.

use bytes::{BufMut, Bytes, BytesMut};
use wire::keys::VALUE_BYTES_MAX;
use wire::message::OperationKind;

/// The new value of a key, `None` if it is deleted; an error says what does not fit.
pub(super) fn perform(kind: &OperationKind, old: Option<&Bytes>) -> Result<Option<Bytes>, String> {
    let value = match kind {
        OperationKind::Delete => return Ok(None),
        OperationKind::Put(value) => value.clone(),
        OperationKind::Append(suffix) => append(old, suffix),
        OperationKind::Add(addend) => {
            let number = old.map_or(Ok(0), number)?;
            let sum = number.checked_add(*addend);
            decimal(sum.ok_or_else(|| format!("{number} + {addend} does not fit in 64 bits"))?)
        }
        OperationKind::Min(bound) => decimal(old.map_or(Ok(*bound), number)?.min(*bound)),
        OperationKind::Max(bound) => decimal(old.map_or(Ok(*bound), number)?.max(*bound)),
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "the value would have {} bytes, more than {VALUE_BYTES_MAX}",
            value.len()
        ));
    }
    Ok(Some(value))
}

fn append(old: Option<&Bytes>, suffix: &Bytes) -> Bytes {
    let Some(old) = old else {
        return suffix.clone();
    };
    let mut value = BytesMut::with_capacity(old.len() + suffix.len());
    value.put_slice(old);
    value.put_slice(suffix);
    value.freeze()
}

fn number(value: &Bytes) -> Result<i64, String> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| "its value is not a decimal number of 64 bits".to_owned())
}

fn decimal(number: i64) -> Bytes {
    number.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_absent_keys() {
        let on = |kind: OperationKind, old: Option<&'static str>| {
            let old = old.map(|old| Bytes::from_static(old.as_bytes()));
            let new = perform(&kind, old.as_ref())?;
            Ok::<_, String>(new.map(|new| String::from_utf8(new.to_vec()).unwrap()))
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(on(OperationKind::Add(-3), Some("1")), some("-2"));
        assert_eq!(on(OperationKind::Add(5), None), some("5"));
        assert_eq!(on(OperationKind::Min(5), None), some("5"));
        assert_eq!(on(OperationKind::Min(5), Some("4")), some("4"));
        assert_eq!(on(OperationKind::Max(5), Some("4")), some("5"));
        assert_eq!(on(OperationKind::Append("b".into()), Some("a")), some("ab"));
        assert_eq!(on(OperationKind::Delete, Some("a")), Ok(None));
        assert!(on(OperationKind::Add(1), Some("x")).is_err());
        assert!(on(OperationKind::Add(1), Some("9223372036854775807")).is_err());
    }
}
