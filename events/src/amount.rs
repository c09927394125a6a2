//! An exact amount of leave: days or hours, as the policy's unit says.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An amount of leave, positive, negative or none. On the wire text such as `"2.5"`, so that no reader rounds it.
///
/// Its bounds keep every sum and product of the calculations within what a [`Decimal`] holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, example = "2.5")]
pub struct Amount(Decimal);

/// Why an amount of leave was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not a plain decimal number.
    #[error("an amount of leave is a decimal number as text, such as \"2.5\"")]
    NotADecimal,
    /// Beyond what any leave can be.
    #[error("an amount of leave must be between -1,000,000 and 1,000,000")]
    TooLarge,
    /// More decimals than are kept.
    #[error("an amount of leave has at most 10 decimals")]
    TooPrecise,
}

impl Amount {
    /// The largest amount, in either direction.
    pub const LIMIT: i64 = 1_000_000;
    /// How many decimals an amount has at most. A twelfth and a three hundred and sixty-fifth are cut here.
    pub const DECIMALS: u32 = 10;
    /// No leave.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// An amount, if it is within the bounds.
    pub fn new(amount: Decimal) -> Result<Self, InvalidAmount> {
        let amount = amount.normalize();
        if amount.scale() > Self::DECIMALS {
            return Err(InvalidAmount::TooPrecise);
        }
        if amount.abs() > Decimal::from(Self::LIMIT) { Err(InvalidAmount::TooLarge) } else { Ok(Self(amount)) }
    }
    /// A computed amount, rounded half up to [`Amount::DECIMALS`] and held within the bounds.
    pub fn computed(amount: Decimal) -> Self {
        let limit = Decimal::from(Self::LIMIT);
        let rounded = amount.round_dp_with_strategy(Self::DECIMALS, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
        Self(rounded.clamp(-limit, limit).normalize())
    }
    /// The amount as a number.
    pub const fn decimal(self) -> Decimal {
        self.0
    }
    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
    /// Whether it is more than nothing.
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }
    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.0 < Decimal::ZERO
    }
}

impl From<u16> for Amount {
    fn from(amount: u16) -> Self {
        Self(Decimal::from(amount))
    }
}
impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::str::FromStr for Amount {
    type Err = InvalidAmount;
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        // `from_str_exact` refuses to round, unlike `from_str`.
        Decimal::from_str_exact(text).map_err(|_| InvalidAmount::NotADecimal).and_then(Self::new)
    }
}
impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_exact_or_refused() {
        for (text, expected) in [
            ("2.5", Ok("2.5")),
            ("2.50", Ok("2.5")),
            ("-0.25", Ok("-0.25")),
            ("0.0000000001", Ok("0.0000000001")),
            ("0.00000000001", Err(InvalidAmount::TooPrecise)),
            ("1000000", Ok("1000000")),
            ("1000000.5", Err(InvalidAmount::TooLarge)),
            ("1e3", Err(InvalidAmount::NotADecimal)),
            ("", Err(InvalidAmount::NotADecimal)),
        ] {
            assert_eq!(text.parse::<Amount>().map(|a| a.to_string()), expected.map(str::to_owned), "{text:?}");
        }
        assert!(serde_json::from_str::<Amount>("2.5").is_err(), "a number is no text");
        assert_eq!(serde_json::to_string(&Amount::computed(Decimal::from(28) / Decimal::from(12))).unwrap(), "\"2.3333333333\"");
    }
}
