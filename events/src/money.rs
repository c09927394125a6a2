//! Money: an exact decimal with an ISO 4217 currency. Never a float, never without its currency.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An ISO 4217 currency that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$")]
pub struct Currency(iso_currency::Currency);

/// Why an amount of money was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// The code names no ISO 4217 currency.
    #[error("{0:?} is not an ISO 4217 currency code such as \"EUR\"")]
    UnknownCurrency(String),
    /// The amount is below zero.
    #[error("the amount must not be negative")]
    Negative,
    /// More decimals than the currency has.
    #[error("the amount has more decimals than {currency} allows ({allowed})")]
    TooPrecise {
        /// The currency's code.
        currency: String,
        /// How many decimals it has.
        allowed: u32,
    },
    /// Beyond what any pay can be.
    #[error("the amount must be below 1,000,000,000,000")]
    TooLarge,
    /// Not a plain decimal number.
    #[error("an amount is a decimal number as text, such as \"4200.50\"")]
    NotADecimal,
}

impl Currency {
    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }
    /// A decimal number as an amount in this currency is written: with as many decimals as the currency has, at least.
    pub fn write(self, amount: &str) -> String {
        let digits = self.decimals() as usize;
        let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
        if part.len() >= digits { amount.to_owned() } else { format!("{whole}.{part:0<digits$}") }
    }
    /// How many decimals amounts in this currency have (ISO 4217 minor unit); currencies without one count as 0.
    pub fn decimals(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
impl FromStr for Currency {
    type Err = InvalidMoney;
    fn from_str(code: &str) -> Result<Self, InvalidMoney> {
        let unknown = || InvalidMoney::UnknownCurrency(code.chars().take(8).collect());
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(unknown());
        }
        let currency = iso_currency::Currency::from_code(code).ok_or_else(unknown)?;
        // Funds, metals and test codes carry no minor unit and pay nobody.
        if currency.exponent().is_none() { Err(unknown()) } else { Ok(Self(currency)) }
    }
}
impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount in a currency: not negative, no more decimals than the currency has.
/// On the wire `{"amount": "4200.50", "currency": "EUR"}`; the amount is text so that no reader rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
pub struct Money {
    #[schema(value_type = String, example = "4200.50")]
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// The largest amount accepted, exclusive.
    pub const LIMIT: i64 = 1_000_000_000_000;

    /// An amount in a currency.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, InvalidMoney> {
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(InvalidMoney::Negative);
        }
        let amount = amount.normalize();
        if amount.scale() > currency.decimals() {
            return Err(InvalidMoney::TooPrecise { currency: currency.code().into(), allowed: currency.decimals() });
        }
        if amount >= Decimal::from(Self::LIMIT) {
            return Err(InvalidMoney::TooLarge);
        }
        Ok(Self { amount, currency })
    }
    /// The amount.
    pub const fn amount(self) -> Decimal {
        self.amount
    }
    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }
}
impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            amount: PlainDecimal,
            currency: Currency,
        }
        let Raw { amount: PlainDecimal(amount), currency } = Raw::deserialize(d)?;
        Self::new(amount, currency).map_err(serde::de::Error::custom)
    }
}

/// Digits with at most one point between them, as text.
struct PlainDecimal(Decimal);

impl<'de> Deserialize<'de> for PlainDecimal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(&text);
        let is_plain = unsigned.split_once('.').map_or_else(|| digits(unsigned), |(whole, part)| digits(whole) && digits(part));
        // `from_str_exact` refuses to round, unlike `from_str`. It takes signs and underscores as well.
        let amount = if is_plain { Decimal::from_str_exact(&text).ok() } else { None };
        amount.map(Self).ok_or_else(|| serde::de::Error::custom(InvalidMoney::NotADecimal))
    }
}

/// The period that a rate of pay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayPeriod {
    /// Per year.
    Year,
    /// Per month: twelve to the year.
    Month,
    /// Per hour: [`PayPeriod::HOURS_PER_YEAR`] to the year.
    Hour,
}

impl PayPeriod {
    /// 52 weeks of 40 hours. A nominal full-time year, used only to compare hourly with annual pay.
    pub const HOURS_PER_YEAR: u32 = 2_080;

    /// How many of the period make a year.
    pub const fn per_year(self) -> u32 {
        match self {
            Self::Year => 1,
            Self::Month => 12,
            Self::Hour => Self::HOURS_PER_YEAR,
        }
    }
    /// The written form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Hour => "hour",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<&str, &str>) {
        match (serde_json::from_str::<Money>(json), expected) {
            (Ok(money), Ok(amount)) => assert_eq!(money.amount().to_string(), amount),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, want) => panic!("{json}: got {got:?}, expected {want:?}"),
        }
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        for (amount, currency, written) in [
            ("4200.5", "EUR", "4200.50"),
            ("4200", "JPY", "4200"),
            ("1.2", "KWD", "1.200"),
            ("0", "EUR", "0.00"),
            ("1.2345", "EUR", "1.2345"),
        ] {
            assert_eq!(currency.parse::<Currency>().unwrap().write(amount), written);
        }
    }

    #[test]
    fn money_is_exact_or_refused() {
        check(r#"{"amount":"60117","currency":"USD"}"#, Ok("60117"));
        check(r#"{"amount":"60117.50","currency":"USD"}"#, Ok("60117.5"));
        check(r#"{"amount":"1.005","currency":"USD"}"#, Err("more decimals"));
        check(r#"{"amount":"1.5","currency":"JPY"}"#, Err("more decimals"));
        check(r#"{"amount":"1.005","currency":"KWD"}"#, Ok("1.005"));
        check(r#"{"amount":"-1","currency":"USD"}"#, Err("negative"));
        check(r#"{"amount":"1e3","currency":"USD"}"#, Err("decimal number"));
        check(r#"{"amount":"0.00000000000000000000000000000000001","currency":"USD"}"#, Err("decimal number"));
        check(r#"{"amount":"1000000000000","currency":"USD"}"#, Err("below"));
        for odd in ["1_000", "+5", "1,000", " 5", "5 ", "", ".", "5.", ".5", "1.2.3", "--1", "0x1", "٥"] {
            check(&format!(r#"{{"amount":"{odd}","currency":"USD"}}"#), Err("decimal number"));
        }
        check(r#"{"amount":"1","currency":"ABC"}"#, Err("ISO 4217"));
        check(r#"{"amount":"1","currency":"usd"}"#, Err("ISO 4217"));
        check(r#"{"amount":"1","currency":"XXX"}"#, Err("ISO 4217"));
        check(r#"{"amount":"1","currency":"USD","x":1}"#, Err("unknown field"));
    }
}
