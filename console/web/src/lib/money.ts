/** Money is exact decimal text from end to end; it is only laid out here, never computed with. */
export function formatMoney(amount: string, currency: string, language: string, digits?: number): string {
  try {
    const exact = /^-?\d{1,15}(\.\d{1,6})?$/.test(amount);
    const whole = { maximumFractionDigits: digits ?? 2, minimumFractionDigits: digits ?? 0 };
    if (exact) return new Intl.NumberFormat(language, { style: "currency", currency, ...whole }).format(amount as unknown as number);
  } catch {
    // A currency that the browser does not know.
  }
  return `${amount} ${currency}`;
}

/** Decimal text as it is typed in either language: `1.234,50` and `1,234.50` are `1234.50`. Null for what could be either. */
export function decimalOf(typed: string): string | null {
  const text = typed.replace(/[\s'’]/g, "");
  if (/^\d+$/.test(text)) return text;
  const marks = text.match(/[.,]/g) ?? [];
  const last = marks.at(-1);
  if (!last || /[^\d.,]/.test(text)) return null;
  const grouped = new Set(marks).size === 2;
  const [whole, fraction] = [text.slice(0, text.lastIndexOf(last)), text.slice(text.lastIndexOf(last) + 1)];
  if (!grouped && marks.length > 1) return /^\d{1,3}([.,]\d{3})+$/.test(text) ? text.replace(/[.,]/g, "") : null;
  if (!grouped && fraction.length === 3) return null; // 1.234: thousands, or thousandths?
  if (grouped && !/^\d{1,3}([.,]\d{3})+$/.test(whole)) return null;
  const digits = whole.replace(/[.,]/g, "");
  return /^\d+$/.test(digits) && /^\d+$/.test(fraction) ? `${digits}.${fraction}` : null;
}
