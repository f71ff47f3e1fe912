# Prepares an instance: accounts with tokens, a queue, custom fields, rights.
# Reads a plan as JSON from the file named first, prints new tokens as JSON. What
# exists already is used; a second argument names another queue than the plan's.
use strict;
use warnings;
use lib '/usr/share/request-tracker5/lib';
use RT -init;
use JSON ();

open my $file, '<', $ARGV[0] or die "$ARGV[0]: $!\n";
my $plan = JSON::decode_json( do { local $/; <$file> } );
my $by = RT->SystemUser;

sub must {
    my ( $what, $ok, @rest ) = @_;
    die "$what: @rest\n" unless $ok;
    return @rest;
}

my $queue = RT::Queue->new($by);
must( 'queue', $queue->Create( Name => $ARGV[1] // $plan->{queue} ) );

for my $cf ( [ $plan->{key_field}, 'Freeform' ], [ 'Description', 'Text' ], [ 'Region', 'Select' ] ) {
    my $field = RT::CustomField->new($by);
    $field->LoadByName( Name => $cf->[0], LookupType => 'RT::Queue-RT::Ticket' );
    if ( !$field->id ) {
        must( $cf->[0], $field->Create( Name => $cf->[0], Type => $cf->[1], MaxValues => 1, LookupType => 'RT::Queue-RT::Ticket' ) );
        if ( $cf->[1] eq 'Select' ) { must( $_, $field->AddValue( Name => $_ ) ) for qw(north south) }
    }
    must( $cf->[0], $field->AddToObject($queue) );
}

# What the service account needs, and nothing else (see package rt).
my @rights = qw(SeeQueue ShowTicket ShowTicketComments CreateTicket ModifyTicket CommentOnTicket ReplyToTicket
    OwnTicket TakeTicket StealTicket ReassignTicket SeeCustomField ModifyCustomField DeleteTicket);

my %tokens;
for my $p ( @{ $plan->{people} } ) {
    my $user = RT::User->new($by);
    $user->Load( $p->{login} );
    if ( !$user->id ) {
        must( $p->{login}, $user->Create(
            Name => $p->{login}, EmailAddress => $p->{email}, RealName => $p->{name},
            Privileged => 1, Timezone => $p->{timezone},
        ) );
        my $token = RT::AuthToken->new($by);
        my ( undef, $text ) = must( 'token', $token->Create( Owner => $user->id, Description => 'test' ) );
        $tokens{ $p->{login} } = $text;
        must( 'admin', $user->PrincipalObj->GrantRight( Right => 'SuperUser', Object => RT->System ) ) if $p->{admin};
    }
    next if $p->{admin};
    must( $_, $user->PrincipalObj->GrantRight( Right => $_, Object => $queue ) ) for @rights;
}
print JSON::encode_json( \%tokens );
