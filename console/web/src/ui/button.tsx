import { Button as AriaButton, type ButtonProps } from "react-aria-components";
import { Link, type LinkProps } from "react-router";

type Kind = "plain" | "main" | "danger" | "quiet";

export function Button({ kind = "plain", ...props }: ButtonProps & { kind?: Kind }) {
  return <AriaButton {...props} className={`button ${kind}`} />;
}

/** A link that looks like a button, for what has an address. */
export function ButtonLink({ kind = "plain", ...props }: LinkProps & { kind?: Kind }) {
  return <Link {...props} className={`button ${kind}`} />;
}
