import i18next from "i18next";
import { initReactI18next, useTranslation } from "react-i18next";

import { de } from "./de";
import { en, type Texts } from "./en";

export const LANGUAGES = ["en", "de"] as const;
export type Language = (typeof LANGUAGES)[number];

const KEY = "tenure-language";

function preferred(): Language {
  const kept = localStorage.getItem(KEY);
  const wished = [kept, ...navigator.languages].map((language) => language?.slice(0, 2));
  return LANGUAGES.find((language) => language === wished.find((one) => LANGUAGES.includes(one as Language))) ?? "en";
}

export async function startTexts(): Promise<void> {
  await i18next.use(initReactI18next).init({
    lng: preferred(),
    fallbackLng: "en",
    resources: { en: { translation: en }, de: { translation: de } },
    keySeparator: false,
    nsSeparator: false,
    interpolation: { escapeValue: false }, // React does.
  });
  document.documentElement.lang = i18next.language;
}

export async function speak(language: Language): Promise<void> {
  localStorage.setItem(KEY, language);
  await i18next.changeLanguage(language);
  document.documentElement.lang = language;
}

export type Key = keyof Texts;
export type Say = (key: Key, values?: Record<string, string | number>) => string;

/** Texts in the reader's language, and which it is. */
export function useTexts(): { say: Say; language: Language } {
  const { t, i18n } = useTranslation();
  const say: Say = (key, values) => t(key, values ?? {}) as string;
  return { say, language: i18n.language === "de" ? "de" : "en" };
}

/** A code of Tenure's in words, or as it is where there are none. */
export function useCode(): (prefix: string, code: string) => string {
  const { i18n, t } = useTranslation();
  return (prefix, code) => {
    const key = `${prefix}.${code}`;
    return i18n.exists(key) ? (t(key) as string) : code.replaceAll("_", " ");
  };
}
