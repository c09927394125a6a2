//! Values in PostgreSQL's binary format, each with its length in front. That is what a field is in a binary COPY, in an array
//! that a parameter carries, and in what `record_send` gives. Source: the `*_send` and `*_recv` functions of PostgreSQL.

use jiff::{Span, civil::Date};
use rust_decimal::Decimal;
use sqlx::{
    Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, types::Oid},
};
use uuid::Uuid;

/// What a binary COPY starts with.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// The end of a span: the first day on which it no longer held, or `infinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub Option<Date>);

/// A column's type on its way into PostgreSQL. The numbers are those of `pg_type`, which no server changes.
pub trait ToBinary {
    /// Its number.
    const TYPE: u32;
    /// The types of an element and of an array by which a parameter carries a column of it.
    const ARRAY: (u32, u32);
    /// What SQL makes of such an element; empty where it is a value of the type already.
    const CAST: &'static str = "";
    /// Appends the value, with its length in front.
    fn put(&self, out: &mut Vec<u8>);
    /// Appends it as an element of [`Self::ARRAY`].
    fn put_element(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
}

/// And on its way out.
pub trait FromBinary: ToBinary + Sized {
    /// The value of these bytes, which came without their length; `None` is null.
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed>;
}

/// Why bytes are no value: they are no row of ours.
#[derive(Debug, thiserror::Error)]
#[error("a row of the read model can't be read: {0}")]
pub struct Malformed(pub &'static str);

fn malformed<T>(why: &'static str) -> Result<T, Malformed> {
    Err(Malformed(why))
}

/// A count of columns; none is near the limit.
pub fn word(count: usize) -> [u8; 2] {
    i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes()
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    // A field is a part of an event, and those are smaller than 2 GiB by far.
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn present(bytes: Option<&[u8]>) -> Result<&[u8], Malformed> {
    bytes.map_or_else(|| malformed("a column without a value"), Ok)
}

fn fixed<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], Malformed> {
    present(bytes)?.try_into().map_err(|_| Malformed("a column of another length"))
}

/// Takes the first bytes off.
fn first<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let Some((first, after)) = rest.split_first_chunk() else { return malformed("it ends too early") };
    *rest = after;
    Ok(*first)
}

impl ToBinary for Uuid {
    const TYPE: u32 = 2950;
    const ARRAY: (u32, u32) = (Self::TYPE, 2951);
    fn put(&self, out: &mut Vec<u8>) {
        sized(self.as_bytes(), out);
    }
}
impl FromBinary for Uuid {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        fixed(bytes).map(Self::from_bytes)
    }
}
impl ToBinary for &str {
    const TYPE: u32 = 25;
    const ARRAY: (u32, u32) = (Self::TYPE, 1009);
    fn put(&self, out: &mut Vec<u8>) {
        sized(self.as_bytes(), out);
    }
}
impl ToBinary for String {
    const TYPE: u32 = <&str>::TYPE;
    const ARRAY: (u32, u32) = <&str>::ARRAY;
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().put(out);
    }
}
impl FromBinary for String {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        Self::from_utf8(present(bytes)?.to_vec()).map_err(|_| Malformed("a text that is not UTF-8"))
    }
}
impl ToBinary for i16 {
    const TYPE: u32 = 21;
    const ARRAY: (u32, u32) = (Self::TYPE, 1005);
    fn put(&self, out: &mut Vec<u8>) {
        sized(&self.to_be_bytes(), out);
    }
}
impl FromBinary for i16 {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        fixed(bytes).map(Self::from_be_bytes)
    }
}
impl ToBinary for i64 {
    const TYPE: u32 = 20;
    const ARRAY: (u32, u32) = (Self::TYPE, 1016);
    fn put(&self, out: &mut Vec<u8>) {
        sized(&self.to_be_bytes(), out);
    }
}
impl FromBinary for i64 {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        fixed(bytes).map(Self::from_be_bytes)
    }
}
/// Not null, and of one dimension.
impl ToBinary for Vec<i32> {
    const TYPE: u32 = 1007;
    /// There are no arrays of arrays that differ in length, so each travels as its text.
    const ARRAY: (u32, u32) = String::ARRAY;
    const CAST: &'static str = "::int4[]";
    /// Dimensions, whether there are nulls, `int4`; length and lower bound of the only dimension; elements.
    fn put(&self, out: &mut Vec<u8>) {
        let length = i32::try_from(self.len()).unwrap_or(i32::MAX);
        let header = if self.is_empty() { vec![0, 0, 23] } else { vec![1, 0, 23, length, 1] };
        let elements = self.iter().flat_map(|element| [4, *element]);
        let bytes: Vec<u8> = header.into_iter().chain(elements).flat_map(i32::to_be_bytes).collect();
        sized(&bytes, out);
    }
    fn put_element(&self, out: &mut Vec<u8>) {
        let elements: Vec<String> = self.iter().map(i32::to_string).collect();
        format!("{{{}}}", elements.join(",")).put(out);
    }
}
impl FromBinary for Vec<i32> {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        let mut rest = present(bytes)?;
        let [dimensions, _, element] = [first(&mut rest)?, first(&mut rest)?, first(&mut rest)?].map(i32::from_be_bytes);
        match (dimensions, element) {
            (0, _) => return Ok(Self::new()),
            (1, 23) => {}
            _ => return malformed("an array that is not a list of int4"),
        }
        let _length_and_lower_bound: [u8; 8] = first(&mut rest)?;
        let mut elements = Self::with_capacity(rest.len() / 8);
        while !rest.is_empty() {
            if first(&mut rest)? != 4_i32.to_be_bytes() {
                return malformed("an array with an element that is no int4");
            }
            elements.push(i32::from_be_bytes(first(&mut rest)?));
        }
        Ok(elements)
    }
}
/// Days since 2000-01-01.
impl ToBinary for Date {
    const TYPE: u32 = 1082;
    const ARRAY: (u32, u32) = (Self::TYPE, 1182);
    fn put(&self, out: &mut Vec<u8>) {
        let days = (*self - jiff::civil::date(2000, 1, 1)).get_days();
        sized(&days.to_be_bytes(), out);
    }
}
impl FromBinary for Date {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        let days = i32::from_be_bytes(fixed(bytes)?);
        let span = Span::new().try_days(days);
        let day = span.and_then(|span| jiff::civil::date(2000, 1, 1).checked_add(span));
        day.map_err(|_| Malformed("a day beyond the calendar"))
    }
}
impl ToBinary for Until {
    const TYPE: u32 = Date::TYPE;
    const ARRAY: (u32, u32) = Date::ARRAY;
    fn put(&self, out: &mut Vec<u8>) {
        match self.0 {
            Some(date) => date.put(out),
            None => sized(&i32::MAX.to_be_bytes(), out),
        }
    }
}
impl FromBinary for Until {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        if fixed(bytes)? == i32::MAX.to_be_bytes() { Ok(Self(None)) } else { Date::take(bytes).map(|date| Self(Some(date))) }
    }
}
impl<T: ToBinary> ToBinary for Option<T> {
    const TYPE: u32 = T::TYPE;
    const ARRAY: (u32, u32) = T::ARRAY;
    const CAST: &'static str = T::CAST;
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(out),
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    fn put_element(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put_element(out),
            None => self.put(out),
        }
    }
}
impl<T: FromBinary> FromBinary for Option<T> {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        bytes.map(|bytes| T::take(Some(bytes))).transpose()
    }
}
/// Count of digits to base 10,000, weight of the first, sign, scale, digits.
impl ToBinary for Decimal {
    const TYPE: u32 = 1700;
    const ARRAY: (u32, u32) = (Self::TYPE, 1231);
    #[allow(clippy::cast_possible_truncation)] // A digit is below 10,000, a scale at most 28, and there are at most 14 digits.
    fn put(&self, out: &mut Vec<u8>) {
        let scale = self.scale();
        // Shift the mantissa so that its decimals fill whole groups of four.
        let padding = (4 - scale % 4) % 4;
        let mut rest = self.mantissa().unsigned_abs() * 10_u128.pow(padding);
        let mut digits: Vec<i16> = Vec::new();
        while rest > 0 {
            digits.push((rest % 10_000) as i16);
            rest /= 10_000;
        }
        let fraction_groups = (scale + padding) / 4;
        let weight = digits.len() as i16 - fraction_groups as i16 - 1;
        digits.reverse();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let mut bytes = Vec::with_capacity(8 + digits.len() * 2);
        let sign: i16 = if self.is_sign_negative() && !self.is_zero() { 0x4000 } else { 0 };
        for value in [digits.len() as i16, if digits.is_empty() { 0 } else { weight }, sign, scale as i16] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        for digit in digits {
            bytes.extend_from_slice(&digit.to_be_bytes());
        }
        sized(&bytes, out);
    }
}
impl FromBinary for Decimal {
    fn take(bytes: Option<&[u8]>) -> Result<Self, Malformed> {
        let beyond = || Malformed("a number beyond 28 digits");
        let mut rest = present(bytes)?;
        let [_, weight, sign, scale] = [first(&mut rest)?, first(&mut rest)?, first(&mut rest)?, first(&mut rest)?].map(i16::from_be_bytes);
        let negative = match sign {
            0 => false,
            0x4000 => true,
            _ => return malformed("a number that is not finite"),
        };
        let mut mantissa: i128 = 0;
        let mut decimals = -4 * (i32::from(weight) + 1);
        while !rest.is_empty() {
            let digit = i16::from_be_bytes(first(&mut rest)?);
            mantissa = mantissa.checked_mul(10_000).and_then(|m| m.checked_add(digit.into())).ok_or_else(beyond)?;
            decimals += 4;
        }
        // The last group may reach further than the number does, with zeros, or end before it.
        let scale = u32::try_from(scale).map_err(|_| beyond())?;
        let shift = i64::from(scale) - i64::from(decimals);
        let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_i128.checked_pow(shift));
        let mantissa = match (mantissa, power) {
            (0, _) => 0,
            (mantissa, Some(power)) if shift < 0 => mantissa / power,
            (mantissa, Some(power)) => mantissa.checked_mul(power).ok_or_else(beyond)?,
            (_, None) => return Err(beyond()),
        };
        Self::try_from_i128_with_scale(if negative { -mantissa } else { mantissa }, scale).map_err(|_| beyond())
    }
}

/// The fields of a row, as `record_send` gives them.
pub struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    /// Of a row with so many columns.
    pub fn of(record: &'r [u8], columns: usize) -> Result<Self, Malformed> {
        let mut rest = record;
        let count = i32::from_be_bytes(first(&mut rest)?);
        if usize::try_from(count) == Ok(columns) { Ok(Self(rest)) } else { malformed("another number of columns") }
    }

    /// The next one.
    pub fn take<T: FromBinary>(&mut self) -> Result<T, Malformed> {
        if u32::from_be_bytes(first(&mut self.0)?) != T::TYPE {
            return malformed("a column of another type");
        }
        let Ok(length) = usize::try_from(i32::from_be_bytes(first(&mut self.0)?)) else { return T::take(None) };
        let Some((bytes, rest)) = self.0.split_at_checked(length) else { return malformed("it ends too early") };
        self.0 = rest;
        T::take(Some(bytes))
    }
}

/// A column of some rows, as a parameter that is an array.
pub struct Column {
    types: (u32, u32),
    length: usize,
    elements: Vec<u8>,
}

/// A value that a [`Column`] takes.
pub trait Element {
    /// The types of an element and of the array.
    fn types(&self) -> (u32, u32);
    /// Appends it.
    fn append(&self, out: &mut Vec<u8>);
}

impl<T: ToBinary> Element for T {
    fn types(&self) -> (u32, u32) {
        T::ARRAY
    }
    fn append(&self, out: &mut Vec<u8>) {
        self.put_element(out);
    }
}

impl Column {
    /// Of these values.
    pub fn of<'v, T: ToBinary + 'v>(values: impl ExactSizeIterator<Item = &'v T>) -> Self {
        let mut column = Self { types: T::ARRAY, length: values.len(), elements: Vec::new() };
        for value in values {
            value.put_element(&mut column.elements);
        }
        column
    }

    /// Appends a row to its columns, which are as many and of the same types; they are made for the first row.
    pub fn put_row(columns: &mut Vec<Self>, row: &[&dyn Element]) {
        if columns.is_empty() {
            columns.extend(row.iter().map(|value| Self { types: value.types(), length: 0, elements: Vec::new() }));
        }
        for (column, value) in columns.iter_mut().zip(row) {
            column.length += 1;
            value.append(&mut column.elements);
        }
    }
}

impl Type<Postgres> for Column {
    /// Of some column; which one, each says for itself.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(Uuid::ARRAY.1))
    }
}

impl Encode<'_, Postgres> for Column {
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.types.1)))
    }
    /// Dimensions, whether there may be nulls, the elements' type; length and lower bound of the only dimension; elements.
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let (element, length) = (self.types.0, u32::try_from(self.length)?);
        let header = if length == 0 { vec![0, 0, element] } else { vec![1, 1, element, length, 1] };
        for word in header {
            buffer.extend(word.to_be_bytes());
        }
        buffer.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: &str, expected: &[i16]) {
        let mut out = Vec::new();
        number.parse::<Decimal>().unwrap().put(&mut out);
        let (length, body) = out.split_at(4);
        assert_eq!(length, i32::try_from(body.len()).unwrap().to_be_bytes());
        let words: Vec<i16> = body.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(words, expected, "{number}");
        assert_eq!(Decimal::take(Some(body)).unwrap().to_string(), number, "with its scale");
    }

    /// As `numeric_send` writes them: count of digits, weight, sign, scale, digits to base 10,000.
    #[test]
    fn a_decimal_travels_as_postgresql_writes_it() {
        check("0", &[0, 0, 0, 0]);
        check("1", &[1, 0, 0, 0, 1]);
        check("10000", &[1, 1, 0, 0, 1]);
        check("60117", &[2, 1, 0, 0, 6, 117]);
        check("60117.5", &[3, 1, 0, 1, 6, 117, 5000]);
        check("0.05", &[1, -1, 0, 2, 500]);
        check("0.00001", &[1, -2, 0, 5, 1000]);
        check("-12.345", &[2, 0, 0x4000, 3, 12, 3450]);
        check("999999999999.999", &[4, 2, 0, 3, 9999, 9999, 9999, 9990]);
    }

    #[test]
    fn a_day_travels_as_days_since_2000() {
        for (day, expected) in [("2000-01-01", 0), ("1999-12-31", -1), ("2024-02-29", 8825), ("0001-01-01", -730_119)] {
            let mut out = Vec::new();
            day.parse::<Date>().unwrap().put(&mut out);
            assert_eq!(out, [&4_i32.to_be_bytes()[..], &i32::to_be_bytes(expected)].concat(), "{day}");
            assert_eq!(Date::take(Some(&out[4..])).unwrap().to_string(), day);
        }
        let mut out = Vec::new();
        Until(None).put(&mut out);
        assert_eq!(out[4..], i32::MAX.to_be_bytes());
        assert_eq!(Until::take(Some(&out[4..])).unwrap(), Until(None));
        assert!(Date::take(Some(&out[4..])).is_err(), "no day is infinity");
    }

    fn words(words: &[i16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn what_no_decimal_holds_is_refused_and_zeros_are_not() {
        for (sent, expected) in [(&[1, 2, 0, 0, 5][..], "500000000"), (&[2, -1, 0, 6, 1, 200], "0.000102"), (&[0, 0, 0, 2], "0.00")] {
            assert_eq!(Decimal::take(Some(&words(sent))).unwrap().to_string(), expected);
        }
        for sent in
            [&[0, 0, 0xC000_u16.cast_signed(), 0][..], &[1, 8, 0, 0, 1], &[1, 0, 0, 29, 1], &[1, 30_000, 0, 0, 1], &[1, 0, 0, -1, 1], &[1]]
        {
            assert!(Decimal::take(Some(&words(sent))).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_list_travels_as_a_value_and_as_text() {
        for list in [vec![], vec![7], vec![i32::MIN, 0, i32::MAX]] {
            let mut out = Vec::new();
            list.put(&mut out);
            assert_eq!(Vec::<i32>::take(Some(&out[4..])).unwrap(), list);
        }
        let mut out = Vec::new();
        vec![1, -2].put_element(&mut out);
        assert_eq!(out[4..], *b"{1,-2}");
        assert!(Vec::<i32>::take(Some(&out[4..])).is_err());
    }

    /// Whatever of a record is cut off or changed: an error, or other values, and no panic.
    #[test]
    fn a_broken_record_is_refused() {
        let mut record = 2_i32.to_be_bytes().to_vec();
        for kind in [i16::TYPE, String::TYPE] {
            record.extend_from_slice(&kind.to_be_bytes());
            if kind == i16::TYPE { 5_i16.put(&mut record) } else { "ab".put(&mut record) }
        }
        let read = |record: &[u8]| {
            let mut fields = Fields::of(record, 2)?;
            Ok::<_, Malformed>((fields.take::<i16>()?, fields.take::<Option<String>>()?))
        };
        assert_eq!(read(&record).unwrap(), (5, Some("ab".to_owned())));
        assert!(Fields::of(&record, 3).is_err());
        assert!((0..record.len()).all(|end| read(&record[..end]).is_err()));
        for at in 0..record.len() {
            for byte in [0, 1, 0x80, 0xff] {
                let mut broken = record.clone();
                broken[at] = byte;
                let _may_be_another_value = read(&broken);
            }
        }
    }
}
