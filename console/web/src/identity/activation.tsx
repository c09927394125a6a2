import { useEffect, useState } from "react";

import { forgetFragment } from "../app/login";
import { Alone } from "../app/shell";
import { useTexts } from "../i18n";
import { TextInput } from "../ui/fields";
import { CommandForm } from "../ui/form";
import { activate } from "./data";

/** The ticket of `#ticket=…`, as mails and administrators hand it on. */
const ticketOfFragment = (): string => new URLSearchParams(location.hash.slice(1)).get("ticket") ?? "";

/** An invitation is taken up, or a forgotten password replaced, by choosing one. */
export function Activation() {
  const { say } = useTexts();
  const [given] = useState(ticketOfFragment);
  const [ticket, setTicket] = useState(given);
  const [password, setPassword] = useState("");
  const [done, setDone] = useState(false);
  useEffect(forgetFragment, []);
  useEffect(() => {
    document.title = `${say("activation")} · Tenure`;
  }, [say]);
  return (
    <Alone>
      <h1>{say("activation")}</h1>
      {done ? (
        <>
          <p role="status">{say("activation.done")}</p>
          <p>
            <a className="button main" href="/">
              {say("log_in")}
            </a>
          </p>
        </>
      ) : (
        <CommandForm submit={say("activation.choose")} send={() => activate({ ticket, password })} done={() => setDone(true)}>
          {!given && <TextInput name="/ticket" label={say("activation.ticket")} required value={ticket} onChange={setTicket} />}
          <TextInput name="/password" type="password" autoComplete="new-password" label={say("password.new")} hint={say("password.hint")} required value={password} onChange={setPassword} />
        </CommandForm>
      )}
    </Alone>
  );
}
