import { useState } from "react";
import { useParams } from "react-router";

import { useAsOf } from "../app/asof";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { Choose, TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { changeLocation, closeLocation, type Location, openLocation, useLocations } from "./data";
import { FromDay } from "./tabs";
import { UnitList } from "./units";

const LIST = "/organization/locations";

export function Locations() {
  const { say } = useTexts();
  return (
    <UnitList
      list={LIST}
      title={say("locations")}
      newLabel={say("location.new")}
      none={say("locations.none")}
      nameLabel={say("name")}
      moreLabels={[say("time_zone")]}
      query={useLocations}
      rows={(all) =>
        all.map((location) => ({
          id: location.location_id,
          name: location.name,
          code: location.code,
          since: location.valid_from,
          until: location.valid_to,
          people: `/people?location=${location.location_id}`,
          more: [location.time_zone],
        }))
      }
      commands={[["changes", say("change")], ["closure", say("close_it")]]}
    />
  );
}

function useLocationOfAddress(): Location | undefined {
  const id = useParams()["id"];
  const [asOf] = useAsOf();
  return useLocations(asOf).data?.find((one) => one.location_id === id);
}

/** The names that the browser knows; Tenure knows at least these. */
export function TimeZoneField({ value, onChange }: { value: string; onChange: (zone: string) => void }) {
  const { say } = useTexts();
  const zones = ["UTC", ...Intl.supportedValuesOf("timeZone").filter((zone) => zone !== "UTC")];
  return (
    <Choose
      name="/time_zone"
      label={say("time_zone")}
      required
      value={value}
      onChange={onChange}
      choices={zones.map((id) => ({ id, label: id }))}
      emptyText={say("choose.none")}
    />
  );
}

export function NewLocation() {
  const { say } = useTexts();
  const [fields, set] = useFields({ code: "", name: "", zone: "UTC" });
  return (
    <FromDay
      title={say("location.new")}
      list={LIST}
      send={(key, day) => openLocation(key, { effective_on: day, code: fields.code, name: fields.name, time_zone: fields.zone })}
    >
      {() => (
        <>
          <TextInput name="/name" label={say("name")} required value={fields.name} onChange={set("name")} />
          <TextInput name="/code" label={say("code")} hint={say("code.hint")} required value={fields.code} onChange={set("code")} />
          <TimeZoneField value={fields.zone} onChange={set("zone")} />
        </>
      )}
    </FromDay>
  );
}

export function ChangeLocation() {
  const { say } = useTexts();
  const location = useLocationOfAddress();
  const [name, setName] = useState<string | null>(null);
  const [zone, setZone] = useState<string | null>(null);
  const [shownName, shownZone] = [name ?? location?.name ?? "", zone ?? location?.time_zone ?? ""];
  return (
    <FromDay
      title={say("change")}
      list={LIST}
      send={(key, day) =>
        changeLocation(location?.location_id ?? "", key, {
          effective_on: day,
          ...(shownName !== location?.name ? { name: shownName } : {}),
          ...(shownZone !== location?.time_zone ? { time_zone: shownZone } : {}),
        })
      }
    >
      {() => (
        <>
          <TextInput name="/name" label={say("name")} required value={shownName} onChange={setName} />
          {location && <TimeZoneField value={shownZone} onChange={setZone} />}
        </>
      )}
    </FromDay>
  );
}

export function CloseLocation() {
  const { say, language } = useTexts();
  const location = useLocationOfAddress();
  return (
    <FromDay
      danger
      title={say("close_it")}
      list={LIST}
      send={(key, day) => closeLocation(location?.location_id ?? "", key, { effective_on: day })}
      follows={(day) => say("close.follows", { name: location?.name ?? "", day: formatDay(day, language) })}
    />
  );
}
