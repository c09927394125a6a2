import { useState } from "react";
import {
  Button as AriaButton,
  ComboBox,
  FieldError,
  Input,
  type Key,
  Label,
  ListBox,
  ListBoxItem,
  Popover,
  Text,
  TextField,
} from "react-aria-components";

/** `name` is the JSON pointer of the field in what is sent, by which a refusal finds it. */
type Field = { name: string; label: string; hint?: string; required?: boolean };

export function TextInput({
  type = "text",
  value,
  onChange,
  autoComplete,
  inputMode,
  ...field
}: Field & {
  type?: "text" | "email" | "password" | "tel" | "date" | "datetime-local" | "search";
  value: string;
  onChange: (value: string) => void;
  autoComplete?: string;
  inputMode?: "decimal" | "numeric";
}) {
  const day = type === "date" ? { min: "0001-01-01", max: "9999-12-31" } : {};
  return (
    <TextField
      className="field"
      name={field.name}
      type={type as "text"}
      value={value}
      onChange={onChange}
      isRequired={field.required ?? false}
      autoComplete={autoComplete ?? "off"}
      {...(inputMode ? { inputMode } : {})}
    >
      <Label>{field.label}</Label>
      <Input {...day} spellCheck="false" />
      {field.hint && <Text slot="description">{field.hint}</Text>}
      <FieldError />
    </TextField>
  );
}

export type Choice = { id: string; label: string; hint?: string };

/** One of few or of thousands: typing narrows the list. With `onSearch` whoever holds them does the narrowing. */
export function Choose({
  value,
  onChange,
  choices,
  onSearch,
  emptyText,
  ...field
}: Field & {
  value: string;
  onChange: (id: string) => void;
  choices: Choice[];
  onSearch?: (text: string) => void;
  emptyText: string;
}) {
  const labelOf = (id: string) => choices.find((choice) => choice.id === id)?.label ?? "";
  const [text, setText] = useState<string | null>(null);
  const shown = text ?? labelOf(value);
  const needle = shown.toLowerCase();
  const narrowed =
    onSearch || text === null ? choices : choices.filter((choice) => `${choice.label} ${choice.hint ?? ""}`.toLowerCase().includes(needle));
  const pick = (key: Key | null) => {
    setText(null);
    onChange(key === null ? "" : String(key));
  };
  return (
    <ComboBox
      className="field"
      name={field.name}
      items={narrowed}
      inputValue={shown}
      onInputChange={(typed) => {
        if (typed === shown) return;
        setText(typed);
        onSearch?.(typed);
        if (typed === "") pick(null);
      }}
      selectedKey={value || null}
      onSelectionChange={pick}
      onOpenChange={(open) => {
        if (!open) setText(null);
      }}
      isRequired={field.required ?? false}
      allowsEmptyCollection
      menuTrigger="focus"
      formValue="key"
    >
      <Label>{field.label}</Label>
      <div className="combo">
        <Input autoComplete="off" spellCheck="false" />
        <AriaButton className="chevron" aria-label={field.label}>
          ▾
        </AriaButton>
      </div>
      {field.hint && <Text slot="description">{field.hint}</Text>}
      <FieldError />
      <Popover className="popover">
        <ListBox<Choice> className="listbox" renderEmptyState={() => <div className="empty">{emptyText}</div>}>
          {(choice) => (
            <ListBoxItem className="option" textValue={choice.label} id={choice.id}>
              <Text slot="label">{choice.label}</Text>
              {choice.hint && <Text slot="description">{choice.hint}</Text>}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </ComboBox>
  );
}

/** One of a handful: the system's own control, which telephones know best. */
export function Select({
  label,
  value,
  onChange,
  choices,
  name,
}: {
  label: string;
  name?: string;
  value: string;
  onChange: (id: string) => void;
  choices: Choice[];
}) {
  return (
    <label className="field">
      <span>{label}</span>
      <select name={name} value={value} onChange={(event) => onChange(event.target.value)}>
        {choices.map((choice) => (
          <option key={choice.id} value={choice.id}>
            {choice.label}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Several of a few. */
export function Checks({
  label,
  choices,
  value,
  onChange,
}: {
  label: string;
  choices: Choice[];
  value: string[];
  onChange: (ids: string[]) => void;
}) {
  return (
    <fieldset className="checks">
      <legend>{label}</legend>
      {choices.map((choice) => (
        <label key={choice.id}>
          <input
            type="checkbox"
            checked={value.includes(choice.id)}
            onChange={(event) => onChange(event.target.checked ? [...value, choice.id] : value.filter((id) => id !== choice.id))}
          />
          <span>
            {choice.label}
            {choice.hint && <small className="soft"> {choice.hint}</small>}
          </span>
        </label>
      ))}
    </fieldset>
  );
}
