#!/usr/bin/env bash
# Writes the bets of the lottery's agencies, with winners that are known.
set -eu
. "$(dirname "$0")/lib.sh"
usage() {
  cat <<'USAGE'
usage: scripts/generate-bets.sh [-n AGENCIES] [-b BETS_PER_AGENCY] [-s SEED] [-o DIR]

Writes DIR/agency-1.csv … DIR/agency-N.csv: name,surname,document,birthdate,number; UTF-8, quoted
where a field needs it, line ends as on other systems (CRLF) in every other file. And
DIR/winners.txt: who bet on 7574, as `agency: documents…` in the order of the bets; agency i has
i % 4 winners where it has so many bets. The same arguments write the same files.

  -n  how many agencies                        (5)
  -b  bets of each                             (2000)
  -s  the seed, 1 to 999999999                 (1)
  -o  where                                    (run/bets)
USAGE
}
agencies=5 bets=2000 seed=1 dir=run/bets
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "n:b:s:o:h" option; do
  case $option in
    n) agencies=$OPTARG ;; b) bets=$OPTARG ;; s) seed=$OPTARG ;; o) dir=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
need_numbers AGENCIES "$agencies" BETS_PER_AGENCY "$bets" SEED "$seed"
if [ "$agencies" -lt 1 ] || [ "$seed" -lt 1 ]; then
  echo "AGENCIES and SEED are at least 1" >&2
  exit 2
fi
mkdir -p "$dir"
rm -f "$dir"/agency-*.csv "$dir/winners.txt"
for agency in $(seq "$agencies"); do
  # The generator is Lehmer's, in numbers that every awk holds exactly.
  awk -v agency="$agency" -v bets="$bets" -v seed="$seed" -v winners="$dir/winners.txt" '
    function random(n) { state = (state * 48271) % 2147483647; return int(state / 2147483647 * n) }
    BEGIN {
      state = (seed + agency * 7919) % 2147483646 + 1
      for (i = 0; i < 10; i++) random(1)
      names = split("Agustín|Camila Rocío|Tomás|Ñancú|Zoë|Lucía Belén|Juan Martín|Sofía|Renée|José \"Pepe\"|Ana", name, "|")
      surnames = split("Lorca|Zambrano|Muñoz|Pérez, h.|Güemes|O\"Neil|Varela|Núñez|Ibáñez Frías|Mamani", surname, "|")
      end = agency % 2 ? "\r\n" : "\n"
      # The bets are cut into as many parts as there are winners, and each has one of them.
      planted = agency % 4 < bets ? agency % 4 : bets
      part = planted ? int(bets / planted) : 0
      for (i = 0; i < planted; i++) place[i] = i * part + random(part)
      won = 0
      documents = ""
      for (row = 0; row < bets; row++) {
        document = 10000000 + random(30000000)
        number = random(9999)
        if (number >= 7574) number++
        if (won < planted && row == place[won]) {
          won++
          number = 7574
          documents = documents " " document
        }
        birthdate = sprintf("%d-%02d-%02d", 1930 + random(76), 1 + random(12), 1 + random(28))
        printf "%s,%s,%d,%s,%d%s", field(name[1 + random(names)]), field(surname[1 + random(surnames)]), document, birthdate, number, end
      }
      print agency ":" documents >> winners
    }
    function field(text) {
      if (text !~ /[",]/) return text
      gsub(/"/, "\"\"", text)
      return "\"" text "\""
    }' > "$dir/agency-$agency.csv"
done
echo "wrote the bets of $agencies agencies, $bets each, to $dir" >&2
