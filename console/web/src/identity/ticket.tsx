import { useState } from "react";

import { useTexts } from "../i18n";
import { Button } from "../ui/button";

/** A ticket is shown once: whoever has it chooses the account's password. */
export function Ticket({ ticket }: { ticket: string }) {
  const { say } = useTexts();
  const [copied, setCopied] = useState(false);
  const link = `${location.origin}/activation#ticket=${ticket}`;
  return (
    <div className="note" role="status">
      <p>{say("ticket.explained")}</p>
      <p className="code wrap">{link}</p>
      <Button
        onPress={() => {
          void navigator.clipboard.writeText(link).then(() => setCopied(true));
        }}
      >
        {copied ? say("copied") : say("copy")}
      </Button>
    </div>
  );
}
