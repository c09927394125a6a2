import { useState } from "react";

import { useCode, useTexts } from "../i18n";
import { Select, TextInput } from "./fields";

/** Why something is done: one of the usual reasons, or one's own words. */
export function ReasonField({ usual, value, onChange }: { usual: string[]; value: string; onChange: (reason: string) => void }) {
  const { say } = useTexts();
  const code = useCode();
  const [own, setOwn] = useState(false);
  const choices = [...usual.map((id) => ({ id, label: code("reason", id) })), { id: "", label: say("reason.own") }];
  return (
    <>
      <Select
        label={say("reason")}
        {...(own ? {} : { name: "/reason" })}
        value={own ? "" : value}
        choices={choices}
        onChange={(id) => {
          setOwn(id === "");
          onChange(id);
        }}
      />
      {own && <TextInput name="/reason" label={say("reason.words")} required value={value} onChange={onChange} />}
    </>
  );
}
