import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Outlet, useNavigate } from "react-router";

import { useMe } from "../app/session";
import { note } from "../app/status";
import { useCode, useTexts } from "../i18n";
import { Button, ButtonLink } from "../ui/button";
import { TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { CommandForm, Sheet } from "../ui/form";
import { Facts, Page } from "../ui/page";
import { ProblemNote } from "../ui/problem";
import { changePassword, confirmTotp, logOutEverywhere, removeTotp, setUpTotp } from "./data";

/** One's own account. */
export function Account() {
  const { say } = useTexts();
  const code = useCode();
  const me = useMe().data;
  const everywhere = useMutation({
    mutationFn: logOutEverywhere,
    onSuccess: () => location.assign("/"),
    onError: note,
  });
  return (
    <Page title={say("account")}>
      <Facts
        of={[
          [say("organization"), me?.tenant_slug],
          [say("roles"), me?.roles.map((role) => code("role", role)).join(", ")],
          [say("account.id"), <span className="code">{me?.subject}</span>],
        ]}
      />
      <div className="actions">
        <ButtonLink to="/account/password">{say("password.change")}</ButtonLink>
        <ButtonLink to="/account/totp">{say("totp.set_up")}</ButtonLink>
        <Button kind="danger" onPress={() => everywhere.mutate()} isPending={everywhere.isPending}>
          {say("log_out.everywhere")}
        </Button>
      </div>
      {everywhere.isError && <ProblemNote error={everywhere.error} />}
      <Outlet />
    </Page>
  );
}

export function ChangePassword() {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [fields, set] = useFields({ current: "", password: "" });
  return (
    <Sheet title={say("password.change")} back="/account">
      <CommandForm
        submit={say("password.change")}
        send={() => changePassword({ current: fields.current, password: fields.password })}
        done={() => void navigate("/account", { replace: true })}
        follows={say("password.change.follows")}
      >
        <TextInput name="/current" type="password" autoComplete="current-password" label={say("password.current")} required value={fields.current} onChange={set("current")} />
        <TextInput name="/password" type="password" autoComplete="new-password" label={say("password.new")} hint={say("password.hint")} required value={fields.password} onChange={set("password")} />
      </CommandForm>
    </Sheet>
  );
}

/** A secret for an app, confirmed by its first digits; or the end of it. */
export function Totp() {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [current, setCurrent] = useState("");
  const [digits, setDigits] = useState("");
  const [url, setUrl] = useState<string | null>(null);
  const [ending, setEnding] = useState(false);
  const done = () => void navigate("/account", { replace: true });
  const code = <TextInput name="/code" label={say("totp")} inputMode="numeric" autoComplete="one-time-code" required value={digits} onChange={setDigits} />;
  return (
    <Sheet title={say("totp.set_up")} back="/account">
      {url ? (
        <CommandForm submit={say("totp.confirm")} send={() => confirmTotp(digits.replace(/\s/g, ""))} done={done}>
          <p>{say("totp.secret")}</p>
          <p className="code wrap">{new URL(url).searchParams.get("secret")}</p>
          <p>
            <a href={url}>{say("totp.open")}</a>
          </p>
          {code}
        </CommandForm>
      ) : ending ? (
        <CommandForm submit={say("totp.remove")} danger send={() => removeTotp(digits.replace(/\s/g, ""))} done={done}>
          {code}
        </CommandForm>
      ) : (
        <CommandForm submit={say("totp.begin")} send={() => setUpTotp(current)} done={(answer) => setUrl((answer as { url: string }).url)}>
          <p className="soft">{say("totp.explained")}</p>
          <TextInput name="/current" type="password" autoComplete="current-password" label={say("password.current")} required value={current} onChange={setCurrent} />
          <p>
            <Button kind="quiet" onPress={() => setEnding(true)}>
              {say("totp.remove")}
            </Button>
          </p>
        </CommandForm>
      )}
    </Sheet>
  );
}
