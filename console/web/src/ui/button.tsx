import { Button as AriaButton, type ButtonProps } from "react-aria-components";
import { Link, type LinkProps } from "react-router";

type Kind = "plain" | "main" | "danger" | "quiet";

/** While something is on its way the button keeps the focus and does nothing. */
export function Button({ kind = "plain", isPending, onPress, ...props }: ButtonProps & { kind?: Kind }) {
  const press = isPending || !onPress ? {} : { onPress };
  return <AriaButton {...props} {...press} aria-busy={isPending ? "true" : undefined} className={`button ${kind}`} />;
}

/** A link that looks like a button, for what has an address. */
export function ButtonLink({ kind = "plain", ...props }: LinkProps & { kind?: Kind }) {
  return <Link {...props} className={`button ${kind}`} />;
}
