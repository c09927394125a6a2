import { useState } from "react";
import { Link, Outlet, useParams } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useRights } from "../app/session";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { ButtonLink } from "../ui/button";
import { Choose, TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { Badge, Empty, Loaded } from "../ui/page";
import { changeLocation, closeLocation, type Location, openLocation, useLocations } from "./data";
import { FromDay, OrganizationPage } from "./tabs";

const LIST = "/organization/locations";

export function Locations() {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  const may = useRights().changes("directory");
  const [asOf] = useAsOf();
  const locations = useLocations(asOf);
  return (
    <OrganizationPage title={say("locations")} actions={may && <ButtonLink kind="main" to={keep(`${LIST}/new`)}>{say("location.new")}</ButtonLink>}>
      <Loaded of={locations}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{say("locations.none")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={say("locations")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{say("name")}</th>
                    <th scope="col">{say("code")}</th>
                    <th scope="col">{say("time_zone")}</th>
                    <th scope="col">{say("since")}</th>
                    {may && <th scope="col">{say("actions")}</th>}
                  </tr>
                </thead>
                <tbody>
                  {all.map((location) => (
                    <tr key={location.location_id}>
                      <th scope="row">
                        <Link to={keep(`/people?location=${location.location_id}`)}>{location.name}</Link>
                        {location.valid_to && <Badge kind="soft">{say("closed_on", { day: formatDay(location.valid_to, language) })}</Badge>}
                      </th>
                      <td className="code">{location.code}</td>
                      <td>{location.time_zone}</td>
                      <td className="nowrap">{formatDay(location.valid_from, language)}</td>
                      {may && (
                        <td className="nowrap">
                          {!location.valid_to && (
                            <>
                              <Link className="rowcommand" to={keep(`${LIST}/${location.location_id}/changes`)} aria-label={`${say("change")}: ${location.name}`}>
                                {say("change")}
                              </Link>{" "}
                              <Link className="rowcommand" to={keep(`${LIST}/${location.location_id}/closure`)} aria-label={`${say("close_it")}: ${location.name}`}>
                                {say("close_it")}
                              </Link>
                            </>
                          )}
                        </td>
                      )}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      <Outlet />
    </OrganizationPage>
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
