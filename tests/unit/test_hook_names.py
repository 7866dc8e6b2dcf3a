"""How people call the fields of their forms, and which box is the one that asks for consent."""

from __future__ import annotations

import time

import pytest

from leads.fields import e164
from leads.intake.attribution import is_click_id, without_click_ids
from leads.intake.hooks.consent import begins_with_no
from leads.intake.hooks.names import Understood, understand
from leads.intake.hooks.shapes import Answer, Submission

WORDING = "I agree that the clinic may contact me."


def understood(**given: str) -> Understood:
    return read({name.replace("__", " "): text for name, text in given.items()})


def read(given: dict[str, str]) -> Understood:
    answers = [Answer(name, (name,), text) for name, text in given.items()]
    return understand(Submission("form plugin", "", answers), "US", WORDING)


@pytest.mark.parametrize(
    ("label", "ours"),
    [
        ("Your E-Mail Address *", "email"),
        ("email_1", "email"),
        ("EMAIL", "email"),
        ("Adresse électronique", None),
        ("Correo electrónico (obligatorio)", "email"),
        ("E-Mail-Adresse", "email"),
        ("phoneNumber", "phone"),
        ("Numéro de téléphone", "phone"),
        ("Телефон", "phone"),
        ("Prénom", "first_name"),
        ("field:last_name", "last_name"),
        ("Company name", None),
        ("1. First Name", "first_name"),
        ("Q2) Your phone", "phone"),
        ("name-1-last-name", "last_name"),
        ("textarea-1", "message"),
        ("et_pb_contact_email_0", "email"),
        ("mf-telephone", "phone"),
        ("mf-listing-fname", "first_name"),
        ("entry email", "email"),
        ("Comments/Questions", "message"),
        ("Email Address (we never share)", "email"),
        ("Telefonnummer (tagsüber)", "phone"),
        ("Phone (of your doctor)", None),
        ("E-Mail (Eltern)", None),
        ("First name (child)", None),
        ("Name (middle)", None),
        ("Your name (first)", "first_name"),
        ("Parent name", None),
        ("Seite", None),
        ("User name of our doctor", None),
        ("form_name", None),
        ("Emergency contact name", None),
        ("Best time to call?", "preferred_time"),
        ("Ihre Nachricht", "message"),
    ],
)
def test_labels_are_known_in_several_languages(label: str, ours: str | None) -> None:
    found = read({label: "something"})
    assert found.fields == ({ours: "something"} if ours else {})
    assert found.extra == ({} if ours else {label: "something"})


@pytest.mark.parametrize(
    ("ours", "labels"),
    [
        (
            "last_name",
            "Zuname | Primer apellido | Familienaam",
        ),
        (
            "full_name",
            "Wie heißen Sie? | Vor- und Zuname | Wie lautet Ihr Name? | Comment vous appelez-vous ? | "
            "Nom / Prénom | ¿Cómo se llama? | ¿Cuál es su nombre? | Nombre y apellido | Come si chiama? | "
            "Qual è il suo nome? | Hoe heet u? | Voor- en achternaam | Wat is uw naam? | Nome e sobrenome | "
            "Qual é o seu nome?",
        ),
        (
            "email",
            "Email-Adresse | Adresse mail | Correo de contacto | Indirizzo mail | Emailadres | Seu melhor e-mail",
        ),
        (
            "phone",
            "WhatsApp number | Tel.-Nr. | Rückrufnummer | Wie ist Ihre Telefonnummer? | N° de téléphone | "
            "Numéro de portable | Teléfono de contacto | Nº de teléfono | Recapito telefonico | GSM-nummer | "
            "Telefone / WhatsApp",
        ),
        (
            "preferred_time",
            "Wann sind Sie erreichbar? | Rückruf erbeten am | Gewünschter Termin | "
            "Beste Zeit für einen Rückruf | Quand pouvons-nous vous rappeler ? | Créneau souhaité | "
            "Date et heure souhaitées | Vos disponibilités | ¿Cuándo podemos llamarle? | "
            "Mejor hora para llamar | Quando possiamo chiamarla? | Fascia oraria preferita | "
            "Wanneer kunnen we u bellen? | Gewenste datum | Quando podemos ligar? | "
            "Melhor horário para contato | Appointment | Termin | Best time to contact you",
        ),
        (
            "preferred_contact",
            "Kontaktaufnahme per | Bevorzugte Kontaktart | Wie möchten Sie kontaktiert werden? | Contact par "
            "| Comment souhaitez-vous être contacté(e) ? | Medio de contacto preferido | Modalità di contatto "
            "| Hoe wilt u benaderd worden? | Forma de contato preferida | How would you like to be contacted?",
        ),
        (
            "service",
            "Gewünschte Behandlung | Art der Behandlung | Soin souhaité | Je suis intéressé(e) par | "
            "Me interesa | Tratamiento de interés | Trattamento desiderato | Gewenste behandeling | "
            "Tratamento desejado | Procedimento",
        ),
        (
            "message",
            "Wie können wir Ihnen helfen? | Ihre Anfrage | Comment pouvons-nous vous aider ? | Votre demande "
            "| ¿En qué podemos ayudarle? | Su consulta | Come possiamo aiutarla? | La tua richiesta | "
            "Hoe kunnen wij u helpen? | Uw vraag | Como podemos ajudar? | Observações",
        ),
    ],
)
def test_whole_questions_are_known_in_the_languages_of_our_pages(ours: str, labels: str) -> None:
    known = {"full_name": ["first_name", "last_name"]}.get(ours, [ours])
    for label in labels.split(" | "):
        assert list(read({label: "One Two"}).fields) == known, label


def test_what_is_about_somebody_else_or_of_the_past_is_nothing_of_the_visitor() -> None:
    labels = (
        "Name des Kindes | Vor- und Zuname des Kindes | Wie heißt Ihr Kind? | Wie heißt Ihr Hausarzt? | "
        "Überweisender Arzt | Name der Mutter | Nom de l'enfant | Nom et prénom du parent | "
        "Comment s'appelle votre enfant ? | Nombre del niño | Nombre y apellidos del padre | "
        "¿Cómo se llama su hijo? | Nome del bambino | Come si chiama suo figlio? | Nome da criança | "
        "Nome e sobrenome do responsável | Naam van het kind | Hoe heet uw kind? | Naam huisarts | "
        "Telefonnummer des Notfallkontakts | Téléphone du médecin traitant | Teléfono del tutor | "
        "E-Mail der Eltern | Gewünschter Arzt | Bisherige Behandlung | Trattamento precedente | "
        "Letzter Termin | Dernier rendez-vous"
    )
    for label in labels.split(" | "):
        assert read({label: "One Two"}).fields == {}, label


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ({"Name": "Ada Byron"}, "Ada", "Byron"),
        ({"Name": "Ada King Byron"}, "Ada", "King Byron"),
        ({"Name": "Byron, Ada"}, "Ada", "Byron"),
        ({"Vorname": "Ada", "Name": "Byron"}, "Ada", "Byron"),
        ({"Name": "Ada Byron", "First name": "Ada"}, "Ada", "Byron"),
        ({"Name": "Ada", "Last name": "Byron"}, "Ada", "Byron"),
        ({"Full Name (First, Last)": "Ada Byron"}, "Ada", "Byron"),
        ({"name-1-first-name": "Ada", "name-1-last-name": "Byron"}, "Ada", "Byron"),
        ({"et_pb_contact_name_0": "Ada Byron"}, "Ada", "Byron"),
    ],
)
def test_a_whole_name_is_taken_apart(given: dict[str, str], first: str, last: str) -> None:
    fields = read(given).fields
    assert (fields["first_name"], fields["last_name"]) == (first, last)


@pytest.mark.parametrize(
    ("label", "text", "consent"),
    [
        ("consent", "yes", True),
        ("Consent", "I agree to be contacted", True),
        ("consent", "I do not agree", False),
        ("consent", "0", False),
        ("consent", "0, 1", True),
        ("consent", f"0, {WORDING}", True),
        ("consent", "0, 0", False),
        ("consent", "1, 0", False),
        ("consent", "0, 1, 0", False),
        ("consent", "0, no", False),
        ("consent", "0, I do not agree", False),
        ("consent", "no, I agree", False),
        ("consent", "nee", False),
        ("Einwilligung", "Ja, ich stimme zu", True),
        ("Einwilligung", "Ja, ich stimme nicht zu", False),
        ("Einwilligung", "Ja, ich bin damit einverstanden.", True),
        ("consent", "Yes, I have read it and agree", True),
        ("consent", "yes, no", False),
        ("consent", "yes, to what", None),
        ("consent", "x", True),
        ("consent", "[x]", True),
        ("consent", "✓", True),
        ("consent", "✔️", True),
        ("consent", "✗", None),
        ("teeth", "✓", None),
        ("teeth", "x", None),
        ("newsletter consent", "✓", None),
        ("consent", "undefined", False),
        ("consent", "none of your business", None),
        ("anything", "0, 1", None),
        ("marketing_consent", "0, 1", None),
        ("Datenschutz", "ja", None),
        (WORDING, "on", True),
        ("anything", WORDING, True),
        ("I agree that my details are stored and used", "1", True),
        ("Ich stimme der Verarbeitung meiner Daten zu", "on", True),
        ("acceptance-1", "I agree to the privacy policy", True),
        ("acceptance-1", "1", None),
        ("acceptance-1", "I agree to be contacted about my enquiry", True),
        ("Consenso al trattamento", "on", True),
        ("Ho letto e accetto l'informativa sulla privacy", "on", True),
        ("Consiento el tratamiento de mis datos", "1", True),
        ("Zgoda na przetwarzanie danych", "tak", True),
        ("Datenschutzerklärung akzeptieren", "1", True),
        ("J’ai lu la politique de confidentialité", "on", None),
        ("J’ai lu et j’accepte la politique de confidentialité", "on", True),
        ("Ho letto e accetto i termini", "on", None),
        ("Ich habe die Datenschutzerklärung gelesen", "on", None),
        ("Ich habe die Datenschutzerklärung zur Kenntnis genommen", "on", None),
        ("Ich habe die Datenschutzerklärung gelesen und stimme ihr zu", "on", True),
        ("Datenschutz", "Ich habe die Datenschutzerklärung zur Kenntnis genommen.", None),
        ("Datenschutzhinweis", "on", None),
        ("I have read the privacy policy", "1", None),
        ("I have read and accept the privacy policy", "1", True),
        ("Ich stimme zu, dass meine Angaben zur Kontaktaufnahme gespeichert werden.", "on", True),
        ("Ich bin damit einverstanden, dass meine Daten gespeichert werden.", "1", True),
        ("Ich willige in die Verarbeitung meiner Gesundheitsdaten ein", "on", True),
        ("Zustimmung", "Ja", True),
        ("einverstanden", "ja", True),
        ("acceptance-dsgvo", "1", True),
        ("Datenschutz", "Akzeptiert", None),
        ("Datenschutzerklärung", "on", None),
        ("Privacy policy", "1", None),
        ("Datenschutz", "Ich stimme der Speicherung meiner Daten zu.", True),
        ("Datenschutz akzeptieren", "on", True),
        ("Einwilligung", "abgelehnt", False),
        ("Autorizo que mis datos se usen para publicidad", "yes", None),
        ("Autorizo el uso de mis datos con fines comerciales", "yes", None),
        ("Autorizzo l'invio di comunicazioni commerciali e il trattamento dei miei dati", "yes", None),
        ("Ik ben akkoord met het gebruik van mijn gegevens voor reclame", "yes", None),
        ("Zgadzam się na przetwarzanie danych w celach marketingowych", "yes", None),
        ("Я даю согласие на получение рекламы и обработку персональных данных", "yes", None),
        ("J'ai lu et je refuse que mes données soient conservées", "oui", None),
        ("Ho letto l'informativa e nego il consenso al trattamento dei dati", "sì", None),
        ("Accetto il trattamento proposto", "on", None),
        ("Ich akzeptiere die AGB und den Datenschutz", "on", None),
        ("J'ai lu et je n'accepte pas la politique de confidentialité", "on", None),
        ("I agree to the terms", "1", None),
        ("I agree to receive marketing about my data", "1", None),
        ("consent", "I agree to receive the newsletter", None),
        ("marketing_consent", "yes", None),
        ("Message", "I agree that my details are private, and want more information", None),
    ],
)
def test_only_what_is_clearly_the_consent_box_gives_consent(label: str, text: str, consent: bool | None) -> None:
    found = read({label: text})
    assert found.consent is consent
    assert text in {**found.extra, **found.fields}.values(), "and what it said is kept"


@pytest.mark.parametrize(
    ("label", "text", "ours"),
    [
        (WORDING, "on", True),
        ("anything", WORDING, True),
        ("gdpr", f"0, {WORDING}", True),
        (WORDING.upper().rstrip("."), "no", True),
        ("consent", "yes", True),
        ("Consent *", "I agree", True),
        ("Your consent", "0", True),
        ("consent", "I agree to be contacted", False),
        ("consent", "Einverständniserklärung gelesen und angenommen", False),
        ("GDPR Agreement", "yes", False),
        ("Privacy policy", "1", False),
        ("I agree that my details are stored and used", "1", False),
        ("acceptance-1", "I agree to the privacy policy", False),
        ("marketing_consent", "yes", False),
        ("name", "Ada", False),
    ],
)
def test_the_sites_wording_was_shown_only_where_the_box_says_so_or_is_called_as_we_ask(
    label: str, text: str, ours: bool
) -> None:
    assert read({label: text}).our_wording is ours


def test_a_box_called_consent_with_a_title_of_its_own_did_not_show_our_wording() -> None:
    for title, ours in (("You may keep what I wrote", False), (WORDING, True), ("Consent", True)):
        answer = Answer(title, (title, "consent", "acceptance"), "on")
        found = understand(Submission("form plugin", "", [answer]), "US", WORDING)
        assert (found.consent, found.our_wording) == (True, ours)


def test_what_a_plugin_itself_says_of_consent_is_to_our_wording_where_it_tells_so() -> None:
    for words, ours in (("I agree to anything", False), (WORDING, True)):
        told = Submission("HubSpot form", "", [], rest=[Answer("text", ("text",), words)], consent=True)
        found = understand(told, "US", WORDING)
        assert (found.consent, found.our_wording, found.extra["text"]) == (True, ours, words)


def test_of_two_boxes_both_must_be_ticked() -> None:
    assert read({"consent": "yes", "GDPR": "no"}).consent is False
    two_of_one_name = [Answer("consent", ("consent",), text) for text in ("0", "1")]
    assert understand(Submission("form plugin", "", two_of_one_name), "US", WORDING).consent is False


def test_an_address_and_a_number_are_found_without_a_name_only_where_there_is_one() -> None:
    assert read({"2": "ada@example.org", "3": "(201) 555-0177", "4": "2026-11-23", "5": "1796032800"}).fields == {
        "email": "ada@example.org",
        "phone": "(201) 555-0177",
    }
    assert read({"2": "ada@example.org", "3": "grace@example.org"}).fields == {}


NOT_HERS = (
    "admin_email | Clinic location phone | siteOwner | Recipient | Referring doctor's phone | Emergency contact | "
    "Fax | Insurance no | Policy holder | staffEmail | from_email | Notfallnummer | Praxistelefon | Mail der Klinik | "
    "Téléphone du médecin traitant | Teléfono de emergencia | Numero del medico | Telefoon huisarts | Телефон врача"
)


@pytest.mark.parametrize("label", NOT_HERS.split(" | "))
@pytest.mark.parametrize(("ours", "text"), [("email", "desk@clinic.example"), ("phone", "(201) 555-0100")])
def test_what_is_called_as_somebody_elses_is_not_guessed_to_be_the_visitors(label: str, ours: str, text: str) -> None:
    other = {"email": "phone", "phone": "email"}[ours]
    hers = {"email": "ada@example.org", "phone": "(201) 555-0177"}[other]
    for beside in ({}, {other: hers}, {"7": hers}):
        found = read({label: text, **beside})
        assert (ours in found.fields, found.extra[label]) == (False, text)


def test_a_number_that_is_no_phone_number_is_not_guessed_to_be_one() -> None:
    for label in ("Member ID", "memberId", "Policy no", "NPI", "Kundennummer", "Social security", "Order 3"):
        assert read({label: "2015550100"}).fields == {}, label
    assert read({"Email ID": "ada@example.org", "Member ID": "2015550100"}).fields == {"email": "ada@example.org"}


def test_a_guess_beside_what_is_known_needs_a_word_for_it_and_stays_under_its_own_name() -> None:
    for label, ours in (("Mobile phone for reminders", True), ("Preferred phone, if any", True), ("7", False)):
        found = read({"email": "ada@example.org", label: "(201) 555-0177"})
        assert ("phone" in found.fields, found.extra) == (ours, {label: "(201) 555-0177"}), label
    assert read({"Phone": "(201) 555-0177", "E-mail, so that we can answer": "a@example.org"}).fields["email"]
    assert read({"4": "(201) 555-0177", "7": "ada@example.org", "admin_email": "desk@clinic.example"}).fields == {
        "email": "ada@example.org",
        "phone": "(201) 555-0177",
    }


def test_a_field_for_addresses_is_the_visitors_unless_it_is_called_as_somebody_elses() -> None:
    for label, known in (("Where may we write to you?", True), ("Your doctor's e-mail", False)):
        answer = Answer(label, (label, "email"), "ada@example.org")
        assert ("email" in understand(Submission("Typeform", "", [answer]), "US", WORDING).fields) is known


@pytest.mark.parametrize("code", ["+91", "91", "0091", "IN", "in", "India (+91)", "+91 (India)"])
@pytest.mark.parametrize("typed", ["98765 43210", "098765 43210", "919876543210"])
def test_the_code_of_the_country_goes_before_a_number_that_has_none(code: str, typed: str) -> None:
    for label in ("country_code", "Dial code", "phone-cf7it-country-code", "phone country_code"):
        found = read({label: code, "phone": typed})
        assert e164(found.fields["phone"], "US") == "+919876543210"
        assert (found.fields.keys(), found.extra) == ({"phone"}, {label: code})


@pytest.mark.parametrize(
    ("code", "typed"), [("+91", "+4915123456789"), ("IN", "004915123456789"), ("055", "201 555 0177"), ("no", "x")]
)
def test_a_number_with_its_country_and_one_beside_which_none_stands_stay_as_they_are(code: str, typed: str) -> None:
    assert read({"country_code": code, "phone": typed}).fields == {"phone": typed}


def test_of_a_number_typed_and_the_same_with_its_country_the_latter_counts() -> None:
    for whole in ("+4915123456789", "+49 151 23456789", "004915123456789"):
        found = read({"phone": "0151 23456789", "full_phone": whole})
        assert (found.fields, found.extra) == ({"phone": whole}, {"phone": "0151 23456789"})
        found = read({"full_phone": whole, "phone": "0151 23456789"})
        assert (found.fields, found.extra) == ({"phone": whole}, {"phone": "0151 23456789"})
    assert read({"phone": "(201) 555-0177", "mobile": "+4915123456789"}).fields == {"phone": "(201) 555-0177"}


def test_what_tells_of_a_visitors_computer_is_kept_of_nobody_in_any_language() -> None:
    labels = (
        "IP remota | Agente de usuario | fields _wpcf7_posted | IP distante | Agent utilisateur | Benutzer-Agent | "
        "Remote-IP | Indirizzo IP | IP-adres | Zdalny adres IP | IP-адрес | _wpcf7_unit_tag | _wpcf7_recaptcha_response"
    )
    assert read(dict.fromkeys(labels.split(" | "), "192.0.2.7")).extra == {}
    assert read({"Käyttäjäagentti": "Mozilla/5.0 (X11)", "Phone model": "Mozilla phone"}).extra == {
        "Phone model": "Mozilla phone"
    }


@pytest.mark.parametrize(
    "sent",
    [
        "Ada <ada@example.org>",
        "<ada@example.org>",
        "mailto:ada@example.org",
        "ada@example.org (mailto:ada@example.org)",
    ],
)
def test_an_address_is_taken_out_of_what_stands_around_it(sent: str) -> None:
    found = read({"Email": sent})
    assert (found.fields, found.extra) == ({"email": "ada@example.org"}, {"Email": sent})


def test_two_answers_of_one_name_are_both_kept() -> None:
    answers = [Answer("Tooth", ("Tooth",), text) for text in ("left", "right", "left")]
    found = understand(Submission("form plugin", "", answers), "US", WORDING)
    assert found.extra == {"Tooth": "left", "Tooth (2)": "right"}


@pytest.mark.parametrize(
    "nasty",
    [
        {"2": "a@" + "." * 64_000 + "@"},
        {"name": " ".join(map(str, range(5600))), "first_name": " ".join(map(str, range(6000, 10_800)))},
        {"your " * 12_000: "a"},
        {"consent": "yes " * 12_000, "email": "mailto:" * 9_000 + "<" * 999},
    ],
    ids=["an address of dots", "a name of many words", "a label that says your", "a box that says yes"],
)
def test_what_somebody_types_to_keep_us_busy_does_not(nasty: dict[str, str]) -> None:
    began = time.process_time()
    read(nasty)
    assert time.process_time() - began < 0.15


def test_many_answers_of_one_name_are_all_kept_and_soon() -> None:
    answers = [Answer("Tooth", ("Tooth",), str(number % 5000)) for number in range(6000)]
    began = time.process_time()
    found = understand(Submission("form plugin", "", answers), "US", WORDING)
    assert time.process_time() - began < 1.5, "forty microseconds for each are what their names cost"
    assert len(found.extra) == 5000
    assert found.extra["Tooth (5000)"] == "4999"


def test_what_stands_beside_the_answers_is_kept_once_and_soon() -> None:
    rest = [Answer("Room", ("Room",), str(number % 5000)) for number in range(6000)]
    began = time.process_time()
    found = understand(Submission("form plugin", "", [Answer("Tooth", ("Tooth",), "1")], rest), "US", WORDING)
    assert time.process_time() - began < 1.0
    assert len(found.extra) == 5001, "each once, and a yes or 1 may be the answer to many questions"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("see https://a.test/x?gclid=1 there", "see https://a.test/x there"),
        ("https://a.test/x?fbclid=1&b=2#c", "https://a.test/x?b=2#c"),
        ("https://a.test/x?b=2&msclkid=1&c=3", "https://a.test/x?b=2&c=3"),
        ("https://a.test/x?b=2", "https://a.test/x?b=2"),
        ("1 + 1 = 2?", "1 + 1 = 2?"),
    ],
)
def test_click_ids_are_dropped_from_addresses(text: str, kept: str) -> None:
    assert without_click_ids(text) == kept


def test_click_ids_are_known_however_they_are_written() -> None:
    assert all(map(is_click_id, ["gclid", "GCLID", "li_fat_id", "gcl-id", "fbclid"]))
    assert not any(map(is_click_id, ["budget", "utm_source", ""]))


def test_the_name_of_somebody_else_stays_beside_the_visitors() -> None:
    found = read({"First name": "Anna", "Last name": "Miller", "Patient name": "Tim Miller"})
    assert (found.fields["first_name"], found.extra["name"]) == ("Anna", "Tim Miller")
    assert read({"First name": "Anna", "Last name": "Miller", "Full name": "Miller Anna"}).extra == {}


def test_each_question_keeps_its_yes_or_no() -> None:
    rest = [Answer(name, (name,), text) for name, text in (("pregnant", "no"), ("smoker", "yes"), ("heart", "no"))]
    found = understand(Submission("Wix", "", [Answer("consent", ("consent",), "yes")], rest), "US", WORDING)
    assert found.extra == {"consent": "yes", "pregnant": "no", "smoker": "yes", "heart": "no"}


def test_a_bare_box_shows_our_wording_only_where_there_was_no_other_before() -> None:
    sent = Submission("form plugin", "", [Answer("consent", ("consent",), "on")])
    assert understand(sent, "US", WORDING).our_wording
    later = understand(sent, "US", WORDING, the_only_one=False)
    assert (later.consent, later.our_wording) == (True, False)
    told = Submission("form plugin", "", [Answer(WORDING, (WORDING,), "on")])
    assert understand(told, "US", WORDING, the_only_one=False).our_wording


@pytest.mark.parametrize(
    "text",
    [
        "I do not agree",
        "Ich stimme nicht zu",
        "Je refuse",
        "I decline",
        "disagree",
        "opt-out",
        "Please do not store it",
    ],
)
def test_a_box_that_begins_by_refusing_says_no(text: str) -> None:
    assert begins_with_no(text)


@pytest.mark.parametrize("text", ["I agree that my details are not sold", "yes", "1", "Ich stimme zu, dass nichts"])
def test_a_no_about_something_else_is_none(text: str) -> None:
    assert not begins_with_no(text)
